#include "worker/packets/packet.h"

#include "tests/support/packets.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace serverd::packets {
namespace {

using namespace test;

constexpr int kEthernet = 1;
constexpr unsigned kMore = 0x2000;

Decoded decode(const Buffer& bytes, int link_type = kEthernet) {
  return decode(Frame{link_type, 77, static_cast<std::uint32_t>(bytes.size()), bytes});
}

const Buffer kTcp = tcp(Segment{.sequence = 0xfffffffe,
                                .payload = "hello",
                                .flags = 0xff,
                                .acknowledged = 0x80000001,
                                .options = {1, 1, 1, 0}});

struct Case {
  const char* name;
  int link_type;
  Buffer header;
};

const std::vector<Case> kLinks = {
    {"Ethernet", 1, ethernet({})},
    {"Vlan", 1, ethernet(join({u16(5), u16(0x0800)}), 0x8100)},
    {"QinQ", 1, ethernet(join({u16(5), u16(0x8100), u16(6), u16(0x0800)}), 0x88a8)},
    {"CookedV1", 113, join({Buffer(14), u16(0x0800)})},
    {"CookedV2", 276, join({u16(0x0800), Buffer(18)})},
    {"RawIp", 12, {}},
    {"RawIpOfFiles", 101, {}},
    {"Ipv4", 228, {}},
    {"Null", 0, {2, 0, 0, 0}},
    {"Loopback", 108, {0, 0, 0, 2}},
};

class EveryLinkType : public testing::TestWithParam<Case> {};

TEST_P(EveryLinkType, CarriesTcp) {
  const Buffer bytes = join({GetParam().header, ipv4(5, 9, kTcp)});
  const Decoded decoded =
      decode(Frame{GetParam().link_type, 77, static_cast<std::uint32_t>(bytes.size()), bytes});
  ASSERT_EQ(decoded.outcome, Outcome::kPacket);
  const Packet& packet = decoded.packet;
  EXPECT_EQ(packet.timestamp_ns, 77U);
  EXPECT_EQ(packet.original_length, bytes.size());
  EXPECT_EQ(Buffer(packet.source.begin(), packet.source.end()), (Buffer{10, 0, 0, 5}));
  EXPECT_EQ(Buffer(packet.destination.begin(), packet.destination.end()), (Buffer{10, 0, 0, 9}));
  const Tcp* tcp = std::get_if<Tcp>(&packet.transport);
  ASSERT_NE(tcp, nullptr);
  EXPECT_EQ(tcp->source_port, 4000);
  EXPECT_EQ(tcp->destination_port, 80);
  EXPECT_EQ(tcp->sequence, 0xfffffffe);
  EXPECT_EQ(tcp->acknowledgment, 0x80000001);
  EXPECT_EQ(tcp->data_offset, 6);
  EXPECT_EQ(tcp->flags, 0xff);
  EXPECT_EQ(tcp->window, 65535);
  EXPECT_EQ(Buffer(tcp->options.begin(), tcp->options.end()), (Buffer{1, 1, 1, 0}));
  EXPECT_EQ(text_of(tcp->payload), "hello");
}

TEST_P(EveryLinkType, IsCutAnywhereWithoutHarm) {
  const Buffer whole = join({GetParam().header, ipv4(5, 9, kTcp)});
  const std::size_t fixed = GetParam().header.size() + 20 + 20;
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    // A copy of its own, so that a sanitizer sees a byte too many.
    const Buffer bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const Decoded decoded =
        decode(Frame{GetParam().link_type, 0, static_cast<std::uint32_t>(whole.size()), bytes});
    EXPECT_EQ(decoded.outcome, size < fixed ? Outcome::kMalformed : Outcome::kPacket) << size;
    if (decoded.outcome != Outcome::kPacket) continue;
    const Tcp& tcp = std::get<Tcp>(decoded.packet.transport);
    EXPECT_EQ(tcp.options.size() + tcp.payload.size(), size - fixed);
    EXPECT_EQ(decoded.packet.original_length, whole.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Packet, EveryLinkType, testing::ValuesIn(kLinks),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Packet, OfUdpHasItsLengthAndChecksum) {
  for (const Buffer& ip : {ethernet(ipv4(5, 9, udp(53, 5353, "hello"), 0, 17)),
                           ethernet(ipv6(5, 9, udp(53, 5353, "hello"), 17), 0x86dd)}) {
    const Buffer bytes = join({ip, Buffer(10)});  // padding
    const Decoded decoded = decode(bytes);
    ASSERT_EQ(decoded.outcome, Outcome::kPacket);
    const Udp* udp = std::get_if<Udp>(&decoded.packet.transport);
    ASSERT_NE(udp, nullptr);
    EXPECT_EQ(udp->source_port, 53);
    EXPECT_EQ(udp->destination_port, 5353);
    EXPECT_EQ(udp->length, 13);
    EXPECT_EQ(udp->checksum, 0x1234);
    EXPECT_EQ(text_of(udp->payload), "hello");
  }
}

TEST(Packet, OfUdpBelievesTheShorterLength) {
  Buffer short_udp = udp(1, 2, "hello");
  short_udp[5] = 8 + 2;
  EXPECT_EQ(
      text_of(std::get<Udp>(decode(ipv4(5, 9, short_udp, 0, 17), 12).packet.transport).payload),
      "he");
  short_udp[5] = 0;
  EXPECT_EQ(
      text_of(std::get<Udp>(decode(ipv4(5, 9, short_udp, 0, 17), 12).packet.transport).payload),
      "hello");
  short_udp[5] = 200;
  EXPECT_EQ(
      text_of(std::get<Udp>(decode(ipv4(5, 9, short_udp, 0, 17), 12).packet.transport).payload),
      "hello");
  short_udp[5] = 7;
  EXPECT_EQ(decode(ipv4(5, 9, short_udp, 0, 17), 12).outcome, Outcome::kMalformed);
}

TEST(Packet, HasTheNinthFlag) {
  Buffer segment = kTcp;
  segment[12] |= 0x0f;
  EXPECT_EQ(std::get<Tcp>(decode(ipv4(5, 9, segment), 12).packet.transport).flags, 0x1ff);
}

TEST(Packet, IsFoundBehindIpv6Extensions) {
  const Buffer hop_by_hop = {43, 0, 1, 4, 0, 0, 0, 0};
  const Buffer routing = {60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Buffer destination = {6, 0, 1, 4, 0, 0, 0, 0};
  const Buffer bytes =
      ethernet(ipv6(5, 9, join({hop_by_hop, routing, destination, kTcp}), 0), 0x86dd);
  const Decoded decoded = decode(bytes);
  ASSERT_EQ(decoded.outcome, Outcome::kPacket);
  EXPECT_EQ(decoded.packet.source.size(), 16U);
  EXPECT_EQ(text_of(std::get<Tcp>(decoded.packet.transport).payload), "hello");
}

TEST(Packet, OfAFirstFragmentOnlyHasPorts) {
  const Decoded first = decode(ipv4(5, 9, kTcp, kMore), 12);
  ASSERT_EQ(first.outcome, Outcome::kPacket);
  EXPECT_EQ(std::get<Tcp>(first.packet.transport).source_port, 4000);
  const Buffer without_options(kTcp.begin(), kTcp.begin() + 20);
  EXPECT_EQ(decode(ipv4(5, 9, without_options, kMore), 12).outcome, Outcome::kPacket);
  EXPECT_EQ(decode(ipv4(5, 9, without_options), 12).outcome, Outcome::kMalformed) << "whole";
  EXPECT_EQ(decode(ipv4(5, 9, kTcp, kMore | 1), 12).outcome, Outcome::kLaterFragment);
  EXPECT_EQ(decode(ipv4(5, 9, kTcp, 1), 12).outcome, Outcome::kLaterFragment);
  EXPECT_EQ(decode(ipv4(5, 9, kTcp, 1, 1), 12).outcome, Outcome::kOtherProtocol) << "ICMP";
  const Buffer first_v6 = ipv6(5, 9, join({{6, 0, 0, 1}, u32(1), kTcp}), 44);
  EXPECT_EQ(decode(first_v6, 12).outcome, Outcome::kPacket);
  const Buffer later_v6 = ipv6(5, 9, join({{6, 0, 0, 8}, u32(1), kTcp}), 44);
  EXPECT_EQ(decode(later_v6, 12).outcome, Outcome::kLaterFragment);
}

TEST(Packet, SaysWhyThereIsNone) {
  EXPECT_EQ(decode(ethernet(Buffer(28), 0x0806)).outcome, Outcome::kOtherProtocol) << "ARP";
  EXPECT_EQ(decode(ipv4(5, 9, Buffer(20), 0, 1), 12).outcome, Outcome::kOtherProtocol) << "ICMP";
  EXPECT_EQ(decode(ipv4(5, 9, kTcp), 105).outcome, Outcome::kOtherLinkType) << "802.11";
  EXPECT_EQ(decode(Buffer{}).outcome, Outcome::kMalformed);
  for (const unsigned header : {0U, 4U, 15U}) {
    Buffer segment = kTcp;
    segment[12] = static_cast<std::uint8_t>(header << 4);
    EXPECT_EQ(decode(ipv4(5, 9, segment), 12).outcome, Outcome::kMalformed) << header;
  }
}

}  // namespace
}  // namespace serverd::packets
