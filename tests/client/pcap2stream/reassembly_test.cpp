#include "client/pcap2stream/reassembly.h"

#include "tests/client/pcap2stream/packets.h"

#include <gtest/gtest.h>

namespace serverd::pcap2stream {
namespace {

using std::chrono::milliseconds;
using Gaps = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

class ReassemblyTest : public testing::Test {
 protected:
  void add_packet(const Buffer& packet, std::size_t cut = 0) {
    const auto segment = decoder_.decode(Bytes(packet).first(packet.size() - cut), packet.size());
    ASSERT_TRUE(segment);
    reassembly_->add(*segment, now_);
  }
  void add(const Segment& segment) { add_packet(ipv4(segment)); }
  void limit(const Reassembly::Limits& limits) { reassembly_.emplace(sink_, limits); }

  RecordingSink sink_;
  SegmentDecoder decoder_;
  std::optional<Reassembly> reassembly_{sink_};
  std::chrono::nanoseconds now_{};
};

TEST_F(ReassemblyTest, DeliversAFlowInOrder) {
  add({.sequence = 9, .flags = kSynFlag});
  add({.sequence = 13, .payload = "def"});
  add({.sequence = 10, .payload = "abc"});
  add({.sequence = 10, .payload = "abc"});
  ASSERT_EQ(sink_.streams.size(), 1U);
  EXPECT_EQ(sink_.streams[0].info.id.to_string(), "10.0.0.5:4000 > 10.0.0.9:80");
  EXPECT_TRUE(sink_.streams[0].info.syn_seen);
  EXPECT_EQ(sink_.streams[0].bytes, "abcdef");
}

TEST_F(ReassemblyTest, FollowsBothDirections) {
  add({.sequence = 0, .flags = kSynFlag});
  add({.from = 9,
       .to = 5,
       .source_port = 80,
       .destination_port = 4000,
       .sequence = 100,
       .flags = kSynFlag | kAckFlag,
       .acknowledged = 1});
  add({.sequence = 1, .payload = "question"});
  add({.from = 9,
       .to = 5,
       .source_port = 80,
       .destination_port = 4000,
       .sequence = 101,
       .payload = "answer"});
  ASSERT_EQ(sink_.streams.size(), 2U);
  EXPECT_EQ(sink_.streams[0].bytes, "question");
  EXPECT_EQ(sink_.streams[1].bytes, "answer");
  EXPECT_EQ(sink_.streams[1].info.id.source.address.to_string(), "10.0.0.9");
}

TEST_F(ReassemblyTest, InterleavesTwoFlowsAsTheyAreDelivered) {
  add({.source_port = 1, .sequence = 0, .payload = "a"});
  add({.source_port = 2, .sequence = 0, .payload = "1"});
  add({.source_port = 1, .sequence = 2, .payload = "c"});
  add({.source_port = 2, .sequence = 1, .payload = "2"});
  add({.source_port = 1, .sequence = 1, .payload = "b"});
  EXPECT_EQ(sink_.order, "a12bc");
}

TEST_F(ReassemblyTest, ReadsIpv6) {
  add_packet(ipv6(Segment{.sequence = 1, .payload = "six"}));
  ASSERT_EQ(sink_.streams.size(), 1U);
  EXPECT_EQ(sink_.streams[0].info.id.to_string(), "[fd00::5]:4000 > [fd00::9]:80");
  EXPECT_EQ(sink_.streams[0].bytes, "six");
}

TEST_F(ReassemblyTest, FollowsAFlowWithoutSynFromItsFirstPacket) {
  add({.sequence = 100, .flags = kAckFlag});
  add({.sequence = 103, .payload = "def"});
  add({.sequence = 100, .payload = "abc"});
  add({.sequence = 90, .payload = "before"});
  ASSERT_EQ(sink_.streams.size(), 1U);
  EXPECT_FALSE(sink_.streams[0].info.syn_seen);
  EXPECT_EQ(sink_.streams[0].bytes, "abcdef");
}

TEST_F(ReassemblyTest, IsNotMisledByAKeepAliveProbeAtTheStart) {
  add({.sequence = 99, .flags = kAckFlag});
  add({.sequence = 100, .payload = "abc"});
  reassembly_->finish();
  EXPECT_EQ(sink_.streams[0].bytes, "abc");
  EXPECT_EQ(sink_.streams[0].gaps, Gaps{});
}

TEST_F(ReassemblyTest, IgnoresKeepAliveProbesLater) {
  add({.sequence = 0, .payload = "abc"});
  add({.sequence = 2, .payload = std::string(1, '\0')});
  add({.sequence = 3, .payload = "d"});
  EXPECT_EQ(sink_.streams[0].bytes, "abcd");
}

TEST_F(ReassemblyTest, TakesAProbesByteForNoPayload) {
  add({.sequence = 9, .flags = kSynFlag});
  add({.sequence = 9, .payload = std::string(1, '\0')});
  reassembly_->finish();
  EXPECT_EQ(sink_.streams.size(), 0U);
}

TEST_F(ReassemblyTest, TakesPayloadOfTheSynItself) {
  add({.sequence = 9, .payload = "fast", .flags = kSynFlag});
  add({.sequence = 14, .payload = "open"});
  EXPECT_EQ(sink_.streams[0].bytes, "fastopen");
}

TEST_F(ReassemblyTest, DropsTheRemarkInAReset) {
  add({.sequence = 0, .payload = "abc"});
  add({.sequence = 3, .payload = "No tcp", .flags = kRstFlag});
  reassembly_->finish();
  EXPECT_EQ(sink_.streams[0].bytes, "abc");
}

TEST_F(ReassemblyTest, ReportsAGapAtTheEndOfTheCapture) {
  add({.sequence = 0, .payload = "abc"});
  add({.sequence = 10, .payload = "xyz"});
  EXPECT_EQ(sink_.streams[0].bytes, "abc");
  reassembly_->finish();
  EXPECT_EQ(sink_.streams[0].bytes, "abcxyz");
  EXPECT_EQ(sink_.streams[0].gaps, (Gaps{{3, 7}}));
}

TEST_F(ReassemblyTest, ReportsMissingBytesBeforeTheFin) {
  add({.sequence = 0, .payload = "abc"});
  add({.sequence = 8, .flags = kFinFlag | kAckFlag});
  reassembly_->finish();
  EXPECT_EQ(sink_.streams[0].gaps, (Gaps{{3, 5}}));
}

TEST_F(ReassemblyTest, ReportsNoGapInACompleteFlow) {
  add({.sequence = 0xffffffff, .flags = kSynFlag});
  add({.sequence = 0, .payload = "abc"});
  add({.sequence = 3, .payload = "d", .flags = kFinFlag | kAckFlag});
  add({.sequence = 5, .flags = kAckFlag});
  reassembly_->finish();
  EXPECT_EQ(sink_.streams[0].bytes, "abcd");
  EXPECT_EQ(sink_.streams[0].gaps, Gaps{});
}

TEST_F(ReassemblyTest, ReportsWhatTheSnapLengthCutOff) {
  add_packet(ipv4(Segment{.sequence = 0, .payload = "0123456789"}), 4);
  add_packet(ipv4(Segment{.sequence = 10, .payload = "abcdef"}), 6);
  reassembly_->finish();
  ASSERT_EQ(sink_.streams.size(), 1U);
  EXPECT_EQ(sink_.streams[0].bytes, "012345");
  EXPECT_EQ(sink_.streams[0].gaps, (Gaps{{6, 10}}));
}

TEST_F(ReassemblyTest, GivesUpAHoleThatThePeerHasAcknowledged) {
  const Segment acknowledgement = {
      .from = 9, .to = 5, .source_port = 80, .destination_port = 4000, .acknowledged = 13};
  add({.sequence = 0, .payload = "abc"});
  add({.sequence = 10, .payload = "xyz"});
  add(acknowledgement);
  now_ += milliseconds(900);
  add(acknowledgement);
  EXPECT_EQ(sink_.streams[0].bytes, "abc") << "captures are not quite in order";
  now_ += milliseconds(200);
  add(acknowledgement);
  EXPECT_EQ(sink_.streams[0].bytes, "abcxyz");
  EXPECT_EQ(sink_.streams[0].gaps, (Gaps{{3, 7}}));
}

TEST_F(ReassemblyTest, WaitsForAHoleThatThePeerHasNotAcknowledged) {
  const Segment duplicate = {
      .from = 9, .to = 5, .source_port = 80, .destination_port = 4000, .acknowledged = 3};
  add({.sequence = 0, .payload = "abc"});
  add({.sequence = 6, .payload = "ghi"});
  for (int i = 0; i < 10; ++i, now_ += milliseconds(1000)) add(duplicate);
  add({.sequence = 3, .payload = "def"});
  EXPECT_EQ(sink_.streams[0].bytes, "abcdefghi");
  EXPECT_EQ(sink_.streams[0].gaps, Gaps{});
}

TEST_F(ReassemblyTest, TakesASynWithAnotherNumberForANewFlow) {
  add({.sequence = 0, .flags = kSynFlag});
  add({.sequence = 1, .payload = "old"});
  add({.sequence = 7, .payload = "late"});
  add({.sequence = 1000, .flags = kSynFlag});
  add({.sequence = 1001, .payload = "new"});
  ASSERT_EQ(sink_.streams.size(), 2U);
  EXPECT_EQ(sink_.streams[0].bytes, "oldlate");
  EXPECT_EQ(sink_.streams[0].gaps, (Gaps{{3, 3}}));
  EXPECT_EQ(sink_.streams[1].bytes, "new");
}

TEST_F(ReassemblyTest, TakesARepeatedSynForTheSameFlow) {
  add({.sequence = 0, .flags = kSynFlag});
  add({.sequence = 1, .payload = "abc"});
  add({.sequence = 0, .flags = kSynFlag});
  add({.sequence = 4, .payload = "def"});
  ASSERT_EQ(sink_.streams.size(), 1U);
  EXPECT_EQ(sink_.streams[0].bytes, "abcdef");
}

TEST_F(ReassemblyTest, TakesAFarSegmentForANewFlow) {
  add({.sequence = 0, .payload = "abc"});
  add({.sequence = 0x70000000, .payload = "xyz"});
  ASSERT_EQ(sink_.streams.size(), 2U);
  EXPECT_EQ(sink_.order, "abcxyz");
}

TEST_F(ReassemblyTest, HoldsNoMoreThanItsLimit) {
  limit({.held_bytes = 1000});
  add({.sequence = 0, .payload = "a"});
  add({.source_port = 2, .sequence = 0, .payload = "b"});
  add({.source_port = 2, .sequence = 5, .payload = "B"});
  for (std::uint32_t i = 0; i < 100; ++i) add({.sequence = 10 + i * 10, .payload = "0123456789"});
  EXPECT_EQ(sink_.streams[1].bytes, "bB") << "the oldest hole is given up first";
  EXPECT_EQ(sink_.streams[0].bytes.size(), 1001U);
  EXPECT_EQ(sink_.streams[0].gaps, (Gaps{{1, 9}}));
}

TEST_F(ReassemblyTest, FollowsNoMoreFlowsThanItsLimit) {
  limit({.flows = 2});
  add({.source_port = 1, .sequence = 0, .payload = "a"});
  add({.source_port = 1, .sequence = 2, .payload = "c"});
  add({.source_port = 2, .sequence = 0, .payload = "1"});
  EXPECT_EQ(sink_.order, "a1");
  add({.source_port = 3, .sequence = 0, .payload = "2"});
  EXPECT_EQ(sink_.order, "a12c") << "the idlest flow is ended";
}

}  // namespace
}  // namespace serverd::pcap2stream
