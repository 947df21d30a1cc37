#include "client/pcap2stream/capture_file.h"

#include "tests/client/pcap2stream/packets.h"

#include <gtest/gtest.h>

namespace serverd::pcap2stream {
namespace {

using wire::LinkType;

const std::vector<Recorded> kPackets = {
    {1'700'000'000'123'456'789, ethernet(ipv4(Segment{.payload = "one"})), 0},
    {1'700'000'001'000'000'001, ethernet(ipv4(Segment{.sequence = 3, .payload = "two"})), 1500},
};

CaptureFile open(const Buffer& content) { return {stream_of(content), "test.pcap"}; }

/// Reads all packets and returns their number.
std::size_t read_all(CaptureFile& file) {
  std::size_t count = 0;
  while (file.next()) ++count;
  return count;
}

void expect_packets(const Buffer& content, std::uint64_t nanoseconds_per_unit) {
  CaptureFile file = open(content);
  EXPECT_EQ(file.link_type(), LinkType::kEthernet);
  for (const Recorded& expected : kPackets) {
    const auto packet = file.next();
    ASSERT_TRUE(packet);
    const auto time = static_cast<std::uint64_t>(packet->timestamp.count());
    EXPECT_EQ(time, expected.nanoseconds / nanoseconds_per_unit * nanoseconds_per_unit);
    EXPECT_EQ(Buffer(packet->bytes.begin(), packet->bytes.end()), expected.bytes);
    EXPECT_EQ(packet->wire_size, wire_size_of(expected));
  }
  EXPECT_FALSE(file.next());
  EXPECT_EQ(file.problem(), "");
}

TEST(CaptureFile, ReadsPcapInMicroseconds) { expect_packets(pcap_file(kPackets), 1000); }
TEST(CaptureFile, ReadsPcapInNanoseconds) { expect_packets(pcap_file(kPackets, 1, true), 1); }
TEST(CaptureFile, ReadsPcapngInMicroseconds) { expect_packets(pcapng_file(kPackets), 1000); }
TEST(CaptureFile, ReadsPcapngInNanoseconds) { expect_packets(pcapng_file(kPackets, 9), 1); }

/// Cuts `whole` at every byte: what is before the cut is read, and the cut is reported unless it is
/// between two packets.
void expect_cuts_are_reported(const Buffer& whole, std::size_t header_size,
                              const std::vector<std::size_t>& packet_ends) {
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Buffer part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    if (size < header_size) {
      EXPECT_THROW(open(part), CaptureError) << size;
      continue;
    }
    std::size_t expected = 0;
    bool between = size == header_size;
    for (const std::size_t end : packet_ends) {
      expected += end <= size ? 1 : 0;
      between = between || end == size;
    }
    CaptureFile file = open(part);
    EXPECT_EQ(read_all(file), expected) << size;
    EXPECT_EQ(file.problem().empty(), between) << size << ": " << file.problem();
  }
}

TEST(CaptureFile, ReadsPcapUpToACutAtAnyByte) {
  const std::size_t first = 24 + 16 + kPackets[0].bytes.size();
  expect_cuts_are_reported(pcap_file(kPackets), 24, {first});
}

TEST(CaptureFile, ReadsPcapngUpToACutAtAnyByte) {
  const std::size_t header = pcapng_file({}).size();
  expect_cuts_are_reported(pcapng_file(kPackets), header, {pcapng_file({kPackets[0]}).size()});
}

TEST(CaptureFile, SaysWhereItWasCut) {
  Buffer content = pcap_file(kPackets);
  content.pop_back();
  CaptureFile file = open(content);
  read_all(file);
  EXPECT_NE(file.problem().find("test.pcap: cut or damaged after packet 1"), std::string::npos)
      << file.problem();
}

TEST(CaptureFile, KnowsItsLinkType) {
  const std::vector<std::pair<std::uint32_t, LinkType>> types = {
      {1, LinkType::kEthernet}, {113, LinkType::kCookedV1}, {276, LinkType::kCookedV2},
      {101, LinkType::kRawIp},  {228, LinkType::kRawIp},    {229, LinkType::kRawIp},
      {0, LinkType::kLoopback}, {108, LinkType::kLoopback},
  };
  for (const auto& [number, type] : types)
    EXPECT_EQ(open(pcap_file({}, number)).link_type(), type) << number;
}

TEST(CaptureFile, NamesAnUnsupportedLinkType) {
  try {
    open(pcap_file({}, 105));
    FAIL() << "opened";
  } catch (const CaptureError& error) {
    EXPECT_NE(std::string(error.what()).find("IEEE802_11"), std::string::npos) << error.what();
  }
}

TEST(CaptureFile, RefusesWhatIsNoCapture) {
  EXPECT_THROW(open(bytes_of("this is a text and no capture file at all")), CaptureError);
  EXPECT_THROW(open({}), CaptureError);
}

TEST(CaptureFile, NamesAMissingFile) {
  try {
    CaptureFile::open("/nonexistent/x.pcap");
    FAIL() << "opened";
  } catch (const CaptureError& error) {
    EXPECT_STREQ(error.what(), "/nonexistent/x.pcap: No such file or directory");
  }
}

}  // namespace
}  // namespace serverd::pcap2stream
