#include "client/pcap2stream/ordered_stream.h"

#include "tests/client/pcap2stream/packets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace serverd::pcap2stream {
namespace {

/// A stream whose deliveries are collected as text.
struct Collected {
  explicit Collected(std::uint32_t first) : stream(first) {}
  void insert(std::uint32_t sequence, std::string_view text) {
    stream.insert(sequence, bytes_of(text), [this](Bytes bytes) { got += text_of(bytes); });
  }
  void skip() {
    stream.skip_hole([this](Bytes bytes) { got += text_of(bytes); });
  }

  OrderedStream stream;
  std::string got;
};

TEST(OrderedStream, DeliversWhatIsInOrderAtOnce) {
  Collected it(100);
  it.insert(100, "abc");
  EXPECT_EQ(it.got, "abc");
  it.insert(103, "def");
  EXPECT_EQ(it.got, "abcdef");
  EXPECT_EQ(it.stream.held_cost(), 0U);
}

TEST(OrderedStream, HoldsWhatComesEarly) {
  Collected it(0);
  it.insert(6, "ghi");
  it.insert(3, "def");
  EXPECT_EQ(it.got, "");
  EXPECT_TRUE(it.stream.holds_bytes());
  it.insert(0, "abc");
  EXPECT_EQ(it.got, "abcdefghi");
  EXPECT_EQ(it.stream.held_cost(), 0U);
}

TEST(OrderedStream, DropsRetransmissions) {
  Collected it(0);
  it.insert(0, "abc");
  it.insert(0, "abc");
  it.insert(1, "bc");
  it.insert(4, "ef");
  it.insert(4, "ef");
  it.insert(3, "d");
  EXPECT_EQ(it.got, "abcdef");
}

TEST(OrderedStream, TakesTheNewPartOfAnOverlapWithWhatWasDelivered) {
  Collected it(0);
  it.insert(0, "abc");
  it.insert(1, "XXde");
  EXPECT_EQ(it.got, "abcde");
}

TEST(OrderedStream, LetsTheFirstOfTwoOverlappingSegmentsCount) {
  Collected tail(0);
  tail.insert(3, "DEF");
  tail.insert(5, "xGH");
  tail.insert(0, "ABCy");
  EXPECT_EQ(tail.got, "ABCDEFGH");

  Collected around(0);
  around.insert(4, "E");
  around.insert(2, "CDxF");
  around.insert(0, "AB");
  EXPECT_EQ(around.got, "ABCDEF");

  Collected within(0);
  within.insert(2, "CDEF");
  within.insert(3, "xx");
  within.insert(0, "AB");
  EXPECT_EQ(within.got, "ABCDEF");
}

TEST(OrderedStream, GoesOnWhereSequenceNumbersWrap) {
  Collected it(0xfffffffe);
  it.insert(1, "def");
  it.insert(0xfffffffe, "abc");
  it.insert(4, "g");
  EXPECT_EQ(it.got, "abcdefg");
}

TEST(OrderedStream, CountsOffsetsBeyond32Bits) {
  Collected it(5);
  const Buffer megabyte(1 << 20, 'x');
  std::uint32_t sequence = 5;
  for (int i = 0; i < 4097; ++i, sequence += 1U << 20)
    it.stream.insert(sequence, megabyte, [](Bytes) {});
  it.insert(sequence + 10, "end");
  const auto gap = it.stream.hole();
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->offset, 4097ULL << 20);
  EXPECT_EQ(gap->length, 10U);
}

TEST(OrderedStream, ReportsAHoleAndGoesOnBehindIt) {
  Collected it(0);
  it.insert(0, "abc");
  it.insert(5, "fgh");
  it.insert(10, "k");
  auto gap = it.stream.hole();
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->offset, 3U);
  EXPECT_EQ(gap->length, 2U);
  it.skip();
  EXPECT_EQ(it.got, "abcfgh");
  it.skip();
  EXPECT_EQ(it.got, "abcfghk");
  EXPECT_FALSE(it.stream.hole());
  it.insert(3, "de");
  EXPECT_EQ(it.got, "abcfghk") << "what was given up does not come back";
}

TEST(OrderedStream, KnowsOfAHoleAtItsEnd) {
  Collected it(0);
  it.insert(0, "abc");
  it.stream.extend_to(7);
  const auto gap = it.stream.hole();
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->offset, 3U);
  EXPECT_EQ(gap->length, 4U);
  EXPECT_FALSE(it.stream.holds_bytes());
}

TEST(OrderedStream, DropsWhatIsBeforeItsFirstByte) {
  Collected it(100);
  it.insert(97, "xyz");
  it.insert(98, "yzabc");
  EXPECT_EQ(it.got, "abc");
}

TEST(OrderedStream, HoldsManySmallSegmentsCheaply) {
  Collected it(0);
  for (std::uint32_t i = 1; i <= 10'000; ++i) it.insert(i, "x");
  EXPECT_LT(it.stream.held_cost(), 11'000U);
}

/// Segments of a known text in random order, with repeats and overlaps, at any start.
TEST(OrderedStream, RestoresAnyShuffledTextExactly) {
  std::mt19937 random(1);
  const auto below = [&random](std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
  };
  for (int round = 0; round < 500; ++round) {
    std::string text(1 + below(300), ' ');
    for (char& c : text) c = static_cast<char>('a' + below(26));
    const auto first = static_cast<std::uint32_t>(random());
    std::vector<std::pair<std::size_t, std::size_t>> parts;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = 1 + below(20);
      parts.emplace_back(at - std::min(at, below(10)), at + size);
      at += size;
    }
    for (std::size_t i = below(10); i > 0; --i) parts.push_back(parts[below(parts.size())]);
    std::shuffle(parts.begin(), parts.end(), random);

    Collected it(first);
    for (const auto& [begin, end] : parts)
      it.insert(first + static_cast<std::uint32_t>(begin), text.substr(begin, end - begin));
    ASSERT_EQ(it.got, text) << "round " << round;
    ASSERT_EQ(it.stream.held_cost(), 0U);
  }
}

}  // namespace
}  // namespace serverd::pcap2stream
