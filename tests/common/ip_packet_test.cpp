#include "common/wire/ip_packet.h"

#include "tests/support/packets.h"

#include <gtest/gtest.h>

namespace serverd::wire {
namespace {

using namespace test;
using Kind = IpPacket::Kind;

constexpr unsigned kMore = 0x2000;

IpPacket read(const Buffer& packet) { return read_ip(packet, packet.size()); }

TEST(IpPacket, HasAddressesProtocolAndPayload) {
  const Buffer v4 = ipv4(5, 9, bytes_of("hello"), 0, 17);
  const Buffer v6 = ipv6(5, 9, bytes_of("hello"), 17);
  for (const Buffer& packet : {v4, v6}) {
    const IpPacket ip = read(packet);
    EXPECT_EQ(ip.kind, Kind::kWhole);
    EXPECT_EQ(ip.is_v6(), packet == v6);
    EXPECT_EQ(ip.protocol, kProtocolUdp);
    EXPECT_EQ(ip.source.back(), 5);
    EXPECT_EQ(ip.destination.back(), 9);
    EXPECT_EQ(text_of(ip.payload), "hello");
    EXPECT_EQ(ip.packet.size(), packet.size());
    EXPECT_EQ(ip.missing, 0U);
  }
}

TEST(IpPacket, PassesOverIpv4Options) {
  Buffer packet = ipv4(5, 9, join({{7, 3, 4, 0}, bytes_of("hello")}));
  packet[0] = 0x46;
  EXPECT_EQ(text_of(read(packet).payload), "hello");
}

TEST(IpPacket, LeavesPaddingOut) {
  for (const Buffer& packet : {ipv4(5, 9, bytes_of("x")), ipv6(5, 9, bytes_of("x"))})
    EXPECT_EQ(text_of(read(join({packet, Buffer(20)})).payload), "x");
}

TEST(IpPacket, SaysWhatIsMissing) {
  for (const Buffer& packet :
       {ipv4(5, 9, bytes_of("0123456789")), ipv6(5, 9, bytes_of("0123456789"))}) {
    const IpPacket ip = read_ip(Bytes(packet).first(packet.size() - 4), packet.size());
    EXPECT_EQ(text_of(ip.payload), "012345");
    EXPECT_EQ(ip.missing, 4U);
  }
}

TEST(IpPacket, TellsFragmentsApart) {
  EXPECT_EQ(read(ipv4(5, 9, Buffer(8), kMore)).kind, Kind::kFirstFragment);
  EXPECT_EQ(read(ipv4(5, 9, Buffer(8), kMore | 1)).kind, Kind::kLaterFragment);
  EXPECT_EQ(read(ipv4(5, 9, Buffer(8), 1)).kind, Kind::kLaterFragment);
  EXPECT_EQ(read(ipv4(5, 9, Buffer(8), 0x4000)).kind, Kind::kWhole) << "don't fragment";
  const auto v6 = [](unsigned fragment) {
    return read(ipv6(5, 9, join({{6, 0}, u16(fragment), u32(1), Buffer(8)}), 44));
  };
  EXPECT_EQ(v6(1).kind, Kind::kFirstFragment);
  EXPECT_EQ(v6(1).payload.size(), 8U);
  EXPECT_EQ(v6(8 | 1).kind, Kind::kLaterFragment);
  EXPECT_EQ(v6(8).kind, Kind::kLaterFragment);
  EXPECT_EQ(v6(0).kind, Kind::kWhole) << "RFC 6946";
  for (const unsigned fragment : {0U, 1U, 8U}) EXPECT_EQ(v6(fragment).protocol, kProtocolTcp);
}

TEST(IpPacket, DoesNotReadExtensionsOutOfALaterFragment) {
  const Buffer packet = ipv6(5, 9, join({{0, 0}, u16(8), u32(1), Buffer(8, 0xff)}), 44);
  EXPECT_EQ(read(packet).kind, Kind::kLaterFragment);
}

TEST(IpPacket, IsMalformedWhereLengthsContradict) {
  Buffer short_header = ipv4(5, 9, Buffer(8));
  short_header[0] = 0x44;
  Buffer long_header = ipv4(5, 9, Buffer(8));
  long_header[0] = 0x4f;
  Buffer short_total = ipv4(5, 9, Buffer(8));
  short_total[3] = 19;
  const Buffer long_extension = ipv6(5, 9, join({{6, 1}, Buffer(6)}), 0);
  for (const Buffer& packet : {short_header, long_header, short_total, long_extension, Buffer(40)})
    EXPECT_EQ(read(packet).kind, Kind::kMalformed);
}

TEST(IpPacket, IsMalformedWhenCutWithinItsHeaders) {
  const Buffer extensions = join({{60, 0}, Buffer(6), {6, 0}, Buffer(6), bytes_of("hello")});
  const Buffer v6 = ipv6(5, 9, extensions, 0);
  for (std::size_t size = 0; size <= v6.size(); ++size)
    EXPECT_EQ(read_ip(Bytes(v6).first(size), v6.size()).kind == Kind::kMalformed, size < 56)
        << size;
  const Buffer v4 = ipv4(5, 9, bytes_of("hello"));
  for (std::size_t size = 0; size <= v4.size(); ++size)
    EXPECT_EQ(read_ip(Bytes(v4).first(size), v4.size()).kind == Kind::kMalformed, size < 20)
        << size;
}

}  // namespace
}  // namespace serverd::wire
