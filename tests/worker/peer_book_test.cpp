#include "worker/chat/peer_book.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace serverd::chat {
namespace {

using namespace std::chrono_literals;

SocketAddress at(std::uint16_t port) { return *SocketAddress::from_host("127.0.0.1", port); }

class PeerBookTest : public testing::Test {
 protected:
  /// The ports of the places that are due; `links` are there, to the servers in `linked`.
  std::vector<int> due(PeerBook& book, unsigned links = 0, const std::string& linked = "") {
    std::vector<int> ports;
    tokens_.clear();
    for (const auto& it :
         book.take_due(now_, links, [&](std::string_view id) { return id == linked; })) {
      ports.push_back(it.address.port());
      tokens_.push_back(it.token);
    }
    return ports;
  }
  using Ports = std::vector<int>;

  Clock::time_point now_{100h};
  std::vector<std::uint64_t> tokens_;
};

TEST_F(PeerBookTest, WhatIsConfiguredIsDueAtOnceAndOnce) {
  PeerBook book({at(1), at(2)}, 8, 0);
  EXPECT_EQ(due(book), (Ports{1, 2}));
  EXPECT_EQ(due(book), Ports{});
}

TEST_F(PeerBookTest, AFailureIsTriedAgainAfterASecondDoubledUpToAMinute) {
  PeerBook book({at(1)}, 8, 0);
  for (const auto delay : {1s, 2s, 4s, 8s, 16s, 32s, 60s, 60s}) {
    ASSERT_EQ(due(book), Ports{1});
    book.ended(tokens_[0], now_);
    now_ += delay - 1ms;
    EXPECT_EQ(due(book), Ports{}) << delay.count();
    now_ += 1ms;
  }
  EXPECT_EQ(due(book), Ports{1});
}

TEST_F(PeerBookTest, ALinkThatWasThereIsMadeAgainSoon) {
  PeerBook book({at(1)}, 8, 0);
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(due(book), Ports{1});
    book.ended(tokens_[0], now_);
    now_ += 1min;
  }
  ASSERT_EQ(due(book), Ports{1});
  book.identified(tokens_[0], "A_1");
  book.ended(tokens_[0], now_);
  now_ += 1s;
  EXPECT_EQ(due(book), Ports{1});
}

TEST_F(PeerBookTest, NoMoreLinksThanAllowedAreMade) {
  PeerBook book({at(1), at(2), at(3), at(4)}, 3, 0);
  EXPECT_EQ(due(book, 1), (Ports{1, 2}));
  const std::uint64_t first = tokens_[0];
  EXPECT_EQ(due(book, 1), Ports{}) << "those that are being made count";
  book.ended(first, now_);
  EXPECT_EQ(due(book, 1), Ports{3}) << "the first waits now";
}

TEST_F(PeerBookTest, WhoHasALinkAlreadyIsNotConnectedTo) {
  PeerBook book({at(1)}, 8, 0);
  due(book);
  book.identified(tokens_[0], "A_1");
  book.ended(tokens_[0], now_);
  now_ += 1min;
  EXPECT_EQ(due(book, 1, "A_1"), Ports{});
  EXPECT_EQ(due(book, 1, "A_2"), Ports{1});
}

TEST_F(PeerBookTest, LearnedServersAreForWhenThereAreTooFewLinks) {
  PeerBook book({}, 8, 2);
  book.learn("B_1", at(11));
  book.learn("B_2", at(12));
  book.learn("B_3", at(13));
  EXPECT_EQ(due(book, 2), Ports{});
  EXPECT_EQ(due(book, 1), Ports{11});
}

TEST_F(PeerBookTest, NothingIsLearnedWhereNothingIsWanted) {
  PeerBook book({}, 8, 0);
  book.learn("B_1", at(11));
  EXPECT_EQ(due(book), Ports{});
}

TEST_F(PeerBookTest, AListThatIsHugeIsNotKeptWhole) {
  PeerBook book({}, 1000, 1000);
  for (std::uint16_t port = 1; port <= 1000; ++port)
    book.learn("B_" + std::to_string(port), at(port));
  EXPECT_EQ(due(book).size(), 64U);
}

TEST_F(PeerBookTest, AServerThatHasMovedIsFoundAtItsNewPlace) {
  PeerBook book({at(1)}, 8, 8);
  book.learn("B_1", at(11));
  book.learn("B_1", at(12));
  book.learn("B_2", at(1));  // is configured
  EXPECT_EQ(due(book), (Ports{1, 12}));
}

TEST_F(PeerBookTest, ALinkOfTheWorkerBeforeIsFoundByItsAddress) {
  PeerBook book({at(1), at(2)}, 8, 0);
  EXPECT_EQ(book.resumed(at(2)), 1U);
  EXPECT_EQ(book.resumed(at(3)), std::nullopt);
  EXPECT_EQ(due(book), Ports{1});
}

TEST_F(PeerBookTest, ReportsAboutNothingAreIgnored) {
  PeerBook book({}, 8, 8);
  book.identified(7, "B_1");
  book.ended(7, now_);
  EXPECT_EQ(due(book), Ports{});
}

}  // namespace
}  // namespace serverd::chat
