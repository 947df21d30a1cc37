// What is written is read by tshark and capinfos, which know the format from another source.

#include "worker/packets/pcapng.h"

#include "tests/support/packets.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace serverd::packets {
namespace {

using namespace test;

std::string output_of(const std::string& command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"),
                                                             &::pclose);
  std::string text;
  std::array<char, 4096> chunk{};
  while (const std::size_t size = std::fread(chunk.data(), 1, chunk.size(), pipe.get()))
    text.append(chunk.data(), size);
  return text;
}

void append_packet(std::string& out, const Frame& frame) {
  std::vector<char> room(pcapng::packet_size(frame));
  EXPECT_EQ(pcapng::write_packet(room, frame), room.size());
  out.append(room.data(), room.size());
}

class PcapngFile : public testing::Test {
 protected:
  std::string save(const std::string& content) {
    std::ofstream file(path_, std::ios::binary);
    file << content;
    return path_;
  }

  TempDir directory_;
  std::string path_ = directory_.path() + "/x.pcapng";
};

TEST_F(PcapngFile, IsReadByTshark) {
  const Buffer first = ethernet(ipv4(Segment{.payload = "hello"}));
  const Buffer second = ethernet(ipv6(Segment{.payload = "0123456789"}), 0x86dd);
  std::string out;
  pcapng::append_header(out, {"eth0", 1, 96, "tcp port 80"});
  append_packet(out, {1, 1'700'000'000'123'456'789, 59, first});
  append_packet(out, {1, 1'700'000'001'000'000'001, static_cast<std::uint32_t>(second.size()),
                      Bytes(second).first(second.size() - 3)});
  EXPECT_EQ(output_of("tshark -r " + save(out) +
                      " -T fields -e frame.time_epoch -e frame.len -e frame.cap_len -e"
                      " frame.interface_name -e ip.src -e ipv6.src -e tcp.payload 2>/dev/null"),
            "1700000000.123456789\t59\t59\teth0\t10.0.0.5\t\t68656c6c6f\n"
            "1700000001.000000001\t84\t81\teth0\t\tfd00::5\t30313233343536\n");
}

TEST_F(PcapngFile, NamesInterfaceFilterAndProgram) {
  std::string out;
  pcapng::append_header(out, {"eth0", 1, 96, "tcp port 80"});
  append_packet(out, {1, 1, 42, Buffer(42)});
  pcapng::append_statistics(out, {1'700'000'002'000'000'000, 12, 3, 4});
  const std::string info = output_of("capinfos -M " + save(out));
  for (const std::string text :
       {"File type:           pcapng", "Number of packets:   1", "stream-serverd", "Name = eth0",
        "Encapsulation = Ethernet (1 - ether)", "Capture length = 96",
        "Time precision = nanoseconds (9)", "Filter string = tcp port 80",
        "Number of stat entries = 1"})
    EXPECT_NE(info.find(text), std::string::npos) << text << " in\n" << info;
}

TEST_F(PcapngFile, SaysEveryLinkTypeInTheFormatsOwnNumbers) {
  for (const auto& [dlt, name] : std::vector<std::pair<int, std::string>>{
           {0, "null"}, {1, "ether"}, {12, "rawip"}, {113, "linux-sll"}, {276, "linux-sll2"}}) {
    std::string out;
    pcapng::append_header(out, {"any", dlt, 0, ""});
    append_packet(out, {dlt, 1, 60, Buffer(60)});
    EXPECT_NE(output_of("capinfos -M " + save(out)).find("- " + name + ")"), std::string::npos)
        << output_of("capinfos -M " + path_);
  }
}

/// No tool prints this block: it is compared with the draft's section 4.6.
TEST(PcapngStatistics, AreTheBlockOfTheDraft) {
  std::string out;
  pcapng::append_statistics(out, {0x0102'0304'0506'0708, 12, 3, 4});
  const auto option = [](std::uint8_t code, std::uint8_t value) {
    return Buffer{code, 0, 8, 0, value, 0, 0, 0, 0, 0, 0, 0};
  };
  const Buffer body = join({little32(0), little32(0x01020304), little32(0x05060708),
                            option(5, 7) /* dropped */, option(6, 12) /* accepted by the filter */,
                            option(7, 3) /* dropped by the system */, little32(0)});
  EXPECT_EQ(bytes_of(out), pcapng_block(5, body));
}

}  // namespace
}  // namespace serverd::packets
