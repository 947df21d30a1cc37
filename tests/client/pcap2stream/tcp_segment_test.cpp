#include "client/pcap2stream/tcp_segment.h"

#include "tests/client/pcap2stream/packets.h"

#include <gtest/gtest.h>

namespace serverd::pcap2stream {
namespace {

constexpr std::uint16_t kMore = 0x2000;

std::optional<TcpSegment> decode(SegmentDecoder& decoder, const Buffer& packet) {
  return decoder.decode(packet, packet.size());
}

TEST(SegmentDecoder, ReadsAnIpv4Segment) {
  SegmentDecoder decoder;
  const Buffer packet = ipv4(Segment{.sequence = 7, .payload = "hello", .acknowledged = 9});
  const auto segment = decode(decoder, packet);
  ASSERT_TRUE(segment);
  EXPECT_EQ(segment->flow.to_string(), "10.0.0.5:4000 > 10.0.0.9:80");
  EXPECT_EQ(segment->sequence, 7U);
  EXPECT_EQ(segment->acknowledged, 9U);
  EXPECT_EQ(text_of(segment->payload), "hello");
  EXPECT_EQ(segment->missing, 0U);
}

TEST(SegmentDecoder, ReadsAnIpv6SegmentBehindExtensionHeaders) {
  SegmentDecoder decoder;
  const Buffer hop_by_hop = {60, 0, 1, 4, 0, 0, 0, 0};
  const Buffer destination = {51, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Buffer authentication = {44, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1,
                                 1,  2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2};
  const Buffer whole_fragment = {6, 0, 0, 0, 0, 0, 0, 1};
  const Buffer packet = ipv6(5, 9,
                             join({hop_by_hop, destination, authentication, whole_fragment,
                                   tcp(Segment{.payload = "hello"})}),
                             0);
  const auto segment = decode(decoder, packet);
  ASSERT_TRUE(segment);
  EXPECT_EQ(segment->flow.to_string(), "[fd00::5]:4000 > [fd00::9]:80");
  EXPECT_EQ(text_of(segment->payload), "hello");
}

TEST(SegmentDecoder, CountsASynInTheSequence) {
  SegmentDecoder decoder;
  const auto segment = decode(decoder, ipv4(Segment{.sequence = 0xffffffff, .flags = kSynFlag}));
  ASSERT_TRUE(segment);
  EXPECT_EQ(segment->sequence, 0U);
  EXPECT_FALSE(segment->acknowledged);
}

TEST(SegmentDecoder, LeavesPaddingOut) {
  SegmentDecoder decoder;
  const Buffer packet = join({ipv4(Segment{.payload = "x"}), Buffer(5)});
  const auto segment = decode(decoder, packet);
  ASSERT_TRUE(segment);
  EXPECT_EQ(text_of(segment->payload), "x");
}

TEST(SegmentDecoder, TakesPayloadBehindOddOptions) {
  SegmentDecoder decoder;
  const Buffer packet = ipv4(Segment{.payload = "x", .options = {30, 0, 99, 255}});
  const auto segment = decode(decoder, packet);
  ASSERT_TRUE(segment);
  EXPECT_EQ(text_of(segment->payload), "x");
}

TEST(SegmentDecoder, TakesThePacketsSizeWhereALengthIsZero) {
  Buffer v4 = ipv4(Segment{.payload = "offloaded"});
  v4[2] = v4[3] = 0;
  Buffer v6 = ipv6(Segment{.payload = "offloaded"});
  v6[4] = v6[5] = 0;
  SegmentDecoder decoder;
  for (const Buffer& packet : {v4, v6}) {
    const auto segment = decode(decoder, packet);
    ASSERT_TRUE(segment);
    EXPECT_EQ(text_of(segment->payload), "offloaded");
  }
}

TEST(SegmentDecoder, CountsWhatTheSnapLengthCutOff) {
  SegmentDecoder decoder;
  for (const Buffer& whole :
       {ipv4(Segment{.payload = "0123456789"}), ipv6(Segment{.payload = "0123456789"})}) {
    const Buffer packet(whole.begin(), whole.end() - 4);
    const auto segment = decoder.decode(packet, whole.size());
    ASSERT_TRUE(segment);
    EXPECT_EQ(text_of(segment->payload), "012345");
    EXPECT_EQ(segment->missing, 4U);
  }
}

TEST(SegmentDecoder, SurvivesACutAtEveryByte) {
  SegmentDecoder decoder;
  const Buffer options = {1, 1, 1, 0};
  for (const Buffer& whole : {ipv4(Segment{.payload = "abc", .options = options}),
                              ipv6(Segment{.payload = "abc", .options = options})}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Buffer packet(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const auto segment = decoder.decode(packet, whole.size());
      EXPECT_EQ(segment.has_value(), size + 3 >= whole.size()) << size;
    }
  }
  EXPECT_GT(decoder.ignored().malformed, 0U);
}

TEST(SegmentDecoder, PassesOverOtherProtocols) {
  SegmentDecoder decoder;
  EXPECT_FALSE(decode(decoder, ipv4(5, 9, Buffer(30), 0, 17)));
  EXPECT_FALSE(decode(decoder, ipv6(5, 9, Buffer(30), 17)));
  EXPECT_EQ(decoder.ignored().malformed, 0U);
}

TEST(SegmentDecoder, RestoresFragmentedIpv4InAnyOrder) {
  const Buffer whole = tcp(Segment{.payload = std::string(100, 'a') + "end"});
  const Buffer first(whole.begin(), whole.begin() + 48);
  const Buffer second(whole.begin() + 48, whole.begin() + 96);
  const Buffer third(whole.begin() + 96, whole.end());
  const std::vector<Buffer> fragments = {ipv4(5, 9, third, 96 / 8), ipv4(5, 9, first, kMore),
                                         ipv4(5, 9, second, kMore | 48 / 8)};
  SegmentDecoder decoder;
  EXPECT_FALSE(decode(decoder, fragments[0]));
  EXPECT_FALSE(decode(decoder, fragments[1]));
  EXPECT_EQ(decoder.unused_fragment_bytes(), first.size() + third.size());
  const auto segment = decode(decoder, fragments[2]);
  ASSERT_TRUE(segment);
  EXPECT_EQ(text_of(segment->payload), std::string(100, 'a') + "end");
  EXPECT_EQ(decoder.unused_fragment_bytes(), 0U);
}

TEST(SegmentDecoder, ReportsFragmentsItCannotUse) {
  SegmentDecoder decoder;
  const Buffer fragment = ipv4(5, 9, Buffer(48), kMore);
  EXPECT_FALSE(decoder.decode(Bytes(fragment).first(60), fragment.size()));
  EXPECT_EQ(decoder.ignored().snapped_fragments, 1U);
  const Buffer v6 = ipv6(5, 9, join({{6, 0, 0, 1, 0, 0, 0, 1}, Buffer(48)}), 44);
  EXPECT_FALSE(decode(decoder, v6));
  EXPECT_EQ(decoder.ignored().ipv6_fragments, 1U);
}

TEST(IpFragments, GivesUpTheOldestBeyondItsLimit) {
  IpFragments fragments(1000);
  for (std::uint8_t host = 0; host < 200; ++host)
    EXPECT_FALSE(fragments.add(ipv4(host, 9, Buffer(48), kMore)));
  EXPECT_EQ(fragments.unused_bytes(), 200U * 48U);
}

}  // namespace
}  // namespace serverd::pcap2stream
