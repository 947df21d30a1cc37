#include "worker/packets/event_writer.h"

#include "tests/support/packets.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace serverd::packets {
namespace {

using namespace test;

/// Writes into exactly the room that is asked for, so that a sanitizer sees a byte too many.
std::string event_of(const Packet& packet, std::uint64_t id = 7) {
  std::vector<char> room(packet_event_bound(packet));
  const std::size_t size = write_packet_event(room, id, packet);
  EXPECT_LE(size, room.size());
  return {room.data(), size};
}

const Buffer kSource = {192, 0, 2, 1};
const Buffer kDestination = {192, 0, 2, 255};

Packet packet_of(const std::variant<Tcp, Udp>& transport) {
  return {1'700'000'000'123'999'999, 74, kSource, kDestination, transport};
}

Tcp syn() {
  Tcp tcp;
  tcp.source_port = 1;
  tcp.destination_port = 2;
  tcp.sequence = 3;
  tcp.data_offset = 10;
  tcp.flags = Tcp::kSyn;
  tcp.window = 64240;
  tcp.checksum = 1;
  return tcp;
}

std::string options_of(const Buffer& options) {
  Tcp tcp = syn();
  tcp.options = options;
  const std::string event = event_of(packet_of(tcp));
  const std::size_t begin = event.find("\"options\":");
  return event.substr(begin, event.find("},\"udp\"") - begin);
}

TEST(PacketEvent, IsTheTextOfTheSpecification) {
  const Buffer options = {2, 4, 5, 0xb4, 1};
  Tcp tcp = syn();
  tcp.options = options;
  EXPECT_EQ(event_of(packet_of(tcp)),
            "id: 7\nevent: packet\ndata: "
            R"({"timestamp":1700000000123,"packet_size":74,"src_ip":"192.0.2.1",)"
            R"("dst_ip":"192.0.2.255","proto":"tcp","tcp":{"src":1,"dst":2,"seq":3,"ack":0,)"
            R"("data_offset":10,"FIN":false,"SYN":true,"RST":false,"PSH":false,"ACK":false,)"
            R"("URG":false,"ECE":false,"CWR":false,"NS":false,"window":64240,"checksum":1,)"
            R"("urgent":0,"payload":"","options":[{"type":2,"length":4,"data":"BbQ="},)"
            R"({"type":1,"length":1,"data":null}],"Padding":null},"udp":null})"
            "\n\n");
}

TEST(PacketEvent, OfUdpHasNoTcp) {
  const Buffer payload = bytes_of("hello");
  Udp udp{53, 5353, 13, 65535, payload};
  EXPECT_EQ(event_of(packet_of(udp), 0),
            "id: 0\nevent: packet\ndata: "
            R"({"timestamp":1700000000123,"packet_size":74,"src_ip":"192.0.2.1",)"
            R"("dst_ip":"192.0.2.255","proto":"udp","tcp":null,"udp":{"src":53,"dst":5353,)"
            R"("length":13,"checksum":65535,"payload":"aGVsbG8="}})"
            "\n\n");
}

TEST(PacketEvent, NamesIpv6Addresses) {
  Buffer source(16);
  source[0] = 0x20;
  source[1] = 0x01;
  source[2] = 0x0d;
  source[3] = 0xb8;
  source[15] = 1;
  const Buffer destination(16, 0xff);
  Packet packet = packet_of(syn());
  packet.source = source;
  packet.destination = destination;
  const std::string event = event_of(packet);
  EXPECT_NE(
      event.find(R"("src_ip":"2001:db8::1","dst_ip":"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",)"),
      std::string::npos)
      << event;
}

TEST(PacketEvent, SaysEachFlagByItsName) {
  const std::vector<std::pair<std::uint16_t, std::string>> flags = {
      {0x001, "FIN"}, {0x002, "SYN"}, {0x004, "RST"}, {0x008, "PSH"}, {0x010, "ACK"},
      {0x020, "URG"}, {0x040, "ECE"}, {0x080, "CWR"}, {0x100, "NS"}};
  for (const auto& [bit, name] : flags) {
    Tcp tcp = syn();
    tcp.flags = bit;
    const std::string event = event_of(packet_of(tcp));
    for (const auto& [other, text] : flags)
      EXPECT_NE(event.find("\"" + text + (other == bit ? "\":true," : "\":false,")),
                std::string::npos)
          << name << ": " << event;
  }
}

TEST(PacketEvent, HasOptionsAsTheyStand) {
  EXPECT_EQ(options_of({}), R"("options":null,"Padding":null)");
  EXPECT_EQ(options_of({1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}),
            R"("options":[{"type":1,"length":1,"data":null},{"type":1,"length":1,"data":null},)"
            R"({"type":8,"length":10,"data":"AAAAAQAAAAI="}],"Padding":null)");
  EXPECT_EQ(options_of({4, 2, 0, 7, 8}),
            R"("options":[{"type":4,"length":2,"data":""},{"type":0,"length":1,"data":null}],)"
            R"("Padding":"Bwg=")");
  EXPECT_EQ(options_of({0}), R"("options":[{"type":0,"length":1,"data":null}],"Padding":"")");
}

TEST(PacketEvent, HasOptionsUpToOneThatCannotBe) {
  EXPECT_EQ(options_of({1, 30, 0, 1}),
            R"("options":[{"type":1,"length":1,"data":null}],"Padding":null)");
  EXPECT_EQ(options_of({1, 30, 1, 1}),
            R"("options":[{"type":1,"length":1,"data":null}],"Padding":null)");
  EXPECT_EQ(options_of({30, 5, 0, 1}), R"("options":null,"Padding":null)");
  EXPECT_EQ(options_of({30}), R"("options":null,"Padding":null)");
}

TEST(PacketEvent, FillsItsBoundWithTheGreatestNumbers) {
  const Buffer source = {255, 255, 255, 255};
  const Buffer options(40, 1);
  const Buffer payload(1000, 0xff);
  Tcp tcp;
  tcp.source_port = tcp.destination_port = 65535;
  tcp.sequence = tcp.acknowledgment = 0xffffffff;
  tcp.data_offset = 15;
  tcp.window = tcp.checksum = tcp.urgent = 65535;
  tcp.options = options;
  tcp.payload = payload;
  const Udp udp{65535, 65535, 65535, 65535, payload};
  for (const std::variant<Tcp, Udp>& transport : {std::variant<Tcp, Udp>(tcp), {udp}}) {
    Packet packet{std::numeric_limits<std::uint64_t>::max(), 0xffffffff, source, source, transport};
    EXPECT_EQ(event_of(packet, std::numeric_limits<std::uint64_t>::max()).size(),
              packet_event_bound(packet));
  }
}

TEST(PacketEvent, StaysWithinItsBoundForAllOptions) {
  for (const std::uint8_t type : {0, 1, 2, 255}) {
    for (std::uint8_t length = 0; length <= 40; ++length) {
      for (std::size_t size = 0; size <= 40; ++size) {
        Buffer options(size, type);
        for (std::size_t at = 1; at < size; at += std::max<std::size_t>(length, 1))
          options[at] = length;
        Tcp tcp = syn();
        tcp.options = options;
        event_of(packet_of(tcp));  // the sanitizers watch
      }
    }
  }
}

TEST(OtherEvents, AreTheTextsOfTheSpecification) {
  std::string out = "before\n\n";
  append_drops_event(out, {3, 18'446'744'073'709'551'615U});
  append_close_event(out);
  append_heartbeat(out);
  EXPECT_EQ(out,
            "before\n\nevent: drops\ndata: {\"kernel\":3,\"queue\":18446744073709551615}\n\n"
            "event: close\ndata: stop capture\n\n"
            ": heartbeat\n\n");
}

std::string error_event(std::string_view text) {
  std::string out;
  append_error_event(out, text);
  return out;
}

TEST(ErrorEvent, CannotBeLeftByItsText) {
  EXPECT_EQ(error_event("nosuch0: No such device exists (No such device exists)"),
            "event: error\ndata: nosuch0: No such device exists (No such device exists)\n\n");
  EXPECT_EQ(error_event("one\ntwo\r\nthree\r\revent: packet"),
            "event: error\ndata: one\ndata: two\ndata: three\ndata: \ndata: event: packet\n\n");
  EXPECT_EQ(error_event("\x1b[0m\xff"), "event: error\ndata: \\x1b[0m\\xff\n\n");
  EXPECT_EQ(error_event(""), "event: error\ndata: \n\n");
}

}  // namespace
}  // namespace serverd::packets
