#include "worker/tcp_progress.h"

#include "tests/support/service_rig.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include <fcntl.h>
#include <sys/socket.h>

namespace serverd {
namespace {

using test::TcpPair;

using Count = std::optional<std::uint64_t>;

class TcpProgressTest : public testing::Test {
 protected:
  int fd() const { return pair_.server.get(); }
  void send(std::size_t count) {
    test::send_all(pair_.client.get(), std::string(count, 'x'));
    sent_ += count;
    ASSERT_TRUE(test::arrived(fd(), sent_ - taken_));
  }
  void take(std::size_t count) {
    std::string buffer(count, '\0');
    ASSERT_EQ(::recv(fd(), buffer.data(), count, 0), static_cast<ssize_t>(count));
    taken_ += count;
  }
  void finish() {
    ASSERT_EQ(::shutdown(pair_.client.get(), SHUT_WR), 0);
    ASSERT_TRUE(test::ended(fd()));
  }
  void reset() {
    test::reset_connection(pair_.client);
    ASSERT_TRUE(test::wait_for(fd(), 0)) << "POLLHUP comes without being asked for";
  }
  int receive_error() {
    char byte = 0;
    return ::recv(fd(), &byte, 1, 0) < 0 ? errno : 0;
  }

  TcpPair pair_ = test::tcp_pair();
  std::size_t sent_ = 0;
  std::size_t taken_ = 0;
};

TEST_F(TcpProgressTest, NothingIsTakenFromANewConnection) {
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
  EXPECT_EQ(bytes_waiting_in(fd()), 0U);
}

TEST_F(TcpProgressTest, QueuedBytesAreNotTaken) {
  send(1000);
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
  EXPECT_EQ(bytes_waiting_in(fd()), 1000U);
}

TEST_F(TcpProgressTest, CountsWhatWasRead) {
  send(1000);
  take(300);
  EXPECT_EQ(bytes_taken_from(fd()), Count(300));
  take(700);
  EXPECT_EQ(bytes_taken_from(fd()), Count(1000));
  send(5);
  EXPECT_EQ(bytes_taken_from(fd()), Count(1000));
}

TEST_F(TcpProgressTest, PeekingTakesNothing) {
  send(1000);
  std::string buffer(1000, '\0');
  ASSERT_EQ(::recv(fd(), buffer.data(), buffer.size(), MSG_PEEK), 1000);
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
}

TEST_F(TcpProgressTest, AFinIsNoByte) {
  send(1000);
  finish();
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
  EXPECT_EQ(bytes_waiting_in(fd()), 1000U);
  take(400);
  EXPECT_EQ(bytes_taken_from(fd()), Count(400));
  take(600);
  EXPECT_EQ(bytes_taken_from(fd()), Count(1000));
  ASSERT_EQ(receive_error(), 0);
  EXPECT_EQ(bytes_taken_from(fd()), Count(1000)) << "after its end was read";
}

TEST_F(TcpProgressTest, AFinAloneIsNoByte) {
  finish();
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
}

TEST_F(TcpProgressTest, AResetIsNoByteWhileBytesAreQueued) {
  send(1000);
  take(300);
  reset();
  EXPECT_EQ(bytes_taken_from(fd()), Count(300));
  EXPECT_EQ(bytes_waiting_in(fd()), 700U);
}

TEST_F(TcpProgressTest, AResetIsNoByteWhenEverythingWasRead) {
  send(1000);
  take(1000);
  reset();
  EXPECT_EQ(bytes_taken_from(fd()), Count(1000));
}

TEST_F(TcpProgressTest, AResetAloneIsNoByte) {
  reset();
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
}

TEST_F(TcpProgressTest, AskingLeavesTheResetToTheReader) {
  send(10);
  reset();
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
  take(10);
  EXPECT_EQ(bytes_taken_from(fd()), Count(10));
  EXPECT_EQ(receive_error(), ECONNRESET);
  EXPECT_EQ(bytes_taken_from(fd()), Count(10)) << "also afterwards";
}

TEST_F(TcpProgressTest, AFinFollowedByAResetIsNoByte) {
  send(1000);
  test::send_all(fd(), "unread, so that closing resets");
  finish();
  reset();
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
  take(999);
  EXPECT_EQ(bytes_taken_from(fd()), Count(999));
  take(1);
  EXPECT_EQ(bytes_taken_from(fd()), Count(1000));
}

TEST_F(TcpProgressTest, AFinOnBothSidesIsNoByte) {
  send(1000);
  ASSERT_EQ(::shutdown(fd(), SHUT_WR), 0);
  finish();
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
  take(1000);
  EXPECT_EQ(bytes_taken_from(fd()), Count(1000));
}

TEST_F(TcpProgressTest, AFinOfOursIsNoByteOfThePeer) {
  send(1000);
  ASSERT_EQ(::shutdown(fd(), SHUT_WR), 0);
  take(250);
  EXPECT_EQ(bytes_taken_from(fd()), Count(250));
}

TEST_F(TcpProgressTest, ManyBytesAfterAResetAreCounted) {
  // More than a page: some ways of asking behave differently there.
  send(100'000);
  take(1);
  reset();
  EXPECT_EQ(bytes_taken_from(fd()), Count(1));
}

TEST_F(TcpProgressTest, UrgentDataInlineIsCounted) {
  send(10);
  ASSERT_EQ(::send(pair_.client.get(), "!", 1, MSG_OOB), 1);
  sent_ += 1;
  send(10);
  EXPECT_EQ(bytes_taken_from(fd()), Count(0));
  take(10);  // recv(2) stops before the mark
  take(11);
  EXPECT_EQ(bytes_taken_from(fd()), Count(21));
}

// What we have written

class TcpWrittenTest : public TcpProgressTest {
 protected:
  /// Writes what the socket takes of `count` bytes.
  std::size_t write(std::size_t count) {
    const std::string bytes(count, 'y');
    std::size_t done = 0;
    while (done < count) {
      const ssize_t n = ::send(fd(), bytes.data(), count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n <= 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }
  /// How many bytes the peer has got when it wanted `count`.
  std::size_t read_by_peer(std::size_t count) {
    std::string buffer(count, '\0');
    std::size_t done = 0;
    while (done < count && test::wait_for(pair_.client.get(), POLLIN, 5000)) {
      const ssize_t n = ::recv(pair_.client.get(), buffer.data(), count - done, 0);
      if (n <= 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }
};

TEST_F(TcpWrittenTest, NothingIsWrittenToANewConnection) {
  EXPECT_EQ(bytes_written_to(fd()), Count(0));
  send(1000);
  EXPECT_EQ(bytes_written_to(fd()), Count(0)) << "whatever the peer sends";
}

TEST_F(TcpWrittenTest, CountsWhatWasWrittenBeforeAndAfterItIsAcknowledged) {
  ASSERT_EQ(write(7), 7U);
  EXPECT_EQ(bytes_written_to(fd()), Count(7));
  ASSERT_EQ(read_by_peer(7), 7U);
  EXPECT_EQ(bytes_written_to(fd()), Count(7));
  ASSERT_EQ(write(5), 5U);
  EXPECT_EQ(bytes_written_to(fd()), Count(12));
}

TEST_F(TcpWrittenTest, CountsWhatThePeerDoesNotRead) {
  const std::size_t written = write(50'000'000);
  ASSERT_LT(written, 50'000'000U) << "the socket is full";
  EXPECT_EQ(bytes_written_to(fd()), Count(written));
  ASSERT_EQ(read_by_peer(written / 2), written / 2);
  EXPECT_EQ(bytes_written_to(fd()), Count(written));
  ASSERT_EQ(read_by_peer(written - written / 2), written - written / 2);
  EXPECT_EQ(bytes_written_to(fd()), Count(written));
}

TEST_F(TcpWrittenTest, ThePeersFinIsNoByteOfOurs) {
  ASSERT_EQ(write(7), 7U);
  finish();
  EXPECT_EQ(bytes_written_to(fd()), Count(7));
  ASSERT_EQ(write(5), 5U) << "it has only finished sending";
  EXPECT_EQ(bytes_written_to(fd()), Count(12));
}

TEST_F(TcpWrittenTest, AResetTakesNothingBack) {
  ASSERT_EQ(write(7), 7U);
  ASSERT_EQ(read_by_peer(7), 7U);
  reset();
  EXPECT_EQ(bytes_written_to(fd()), Count(7));
}

TEST_F(TcpWrittenTest, AResetTakesBackNoBytesThatThePeerNeverRead) {
  ASSERT_EQ(write(7), 7U);
  reset();
  EXPECT_EQ(bytes_written_to(fd()), Count(7));
  EXPECT_EQ(receive_error(), ECONNRESET) << "and leaves it to the reader";
}

/// The side that connected.
class TcpWrittenByOpenerTest : public testing::Test {
 protected:
  std::optional<std::uint64_t> written() const {
    return bytes_written_to(pair_.client.get(), Opener::kUs);
  }

  TcpPair pair_ = test::tcp_pair();
};

TEST_F(TcpWrittenByOpenerTest, OurSynIsNoByteOfOurs) {
  EXPECT_EQ(written(), 0U);
  test::send_all(pair_.client.get(), "seven b");
  EXPECT_EQ(written(), 7U);
  char buffer[16];
  ASSERT_TRUE(test::wait_for(pair_.server.get(), POLLIN));
  ASSERT_EQ(::recv(pair_.server.get(), buffer, sizeof buffer, 0), 7);
  EXPECT_EQ(written(), 7U);
  test::send_all(pair_.client.get(), "five.");
  EXPECT_EQ(written(), 12U);
}

TEST_F(TcpWrittenByOpenerTest, ItsReadingIsCountedAsEver) {
  test::send_all(pair_.server.get(), "seven b");
  ASSERT_TRUE(test::wait_for(pair_.client.get(), POLLIN));
  EXPECT_EQ(bytes_taken_from(pair_.client.get()), 0U);
  char buffer[16];
  ASSERT_EQ(::recv(pair_.client.get(), buffer, 3, 0), 3);
  EXPECT_EQ(bytes_taken_from(pair_.client.get()), 3U);
  pair_.server.reset();
  ASSERT_TRUE(test::wait_for(pair_.client.get(), POLLRDHUP));
  EXPECT_EQ(bytes_taken_from(pair_.client.get()), 3U);
}

TEST(TcpProgress, WhatIsNoTcpSocketCannotBeAsked) {
  const test::TempDir dir;
  const UniqueFd file = UniqueFd::adopt(::open(dir.path().c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(bytes_taken_from(file.get()), std::nullopt);
  EXPECT_EQ(bytes_taken_from(-1), std::nullopt);
  EXPECT_EQ(bytes_written_to(file.get()), std::nullopt);
  EXPECT_EQ(bytes_written_to(-1), std::nullopt);
  EXPECT_EQ(bytes_waiting_in(-1), 0U);
}

TEST(TcpProgress, AConnectionIsShutDownByUsAndNotByItsPeer) {
  test::TcpPair pair = test::tcp_pair();
  EXPECT_FALSE(is_shut_down(pair.server.get()));
  ::shutdown(pair.client.get(), SHUT_WR);
  ASSERT_TRUE(test::wait_for(pair.server.get(), POLLRDHUP));
  EXPECT_FALSE(is_shut_down(pair.server.get())) << "it may still be answered";
  ::shutdown(pair.server.get(), SHUT_RDWR);
  EXPECT_TRUE(is_shut_down(pair.server.get()));

  pair = test::tcp_pair();
  test::send_all(pair.client.get(), "unread");
  ASSERT_TRUE(test::wait_for(pair.server.get(), POLLIN));
  test::reset_connection(pair.client);
  ASSERT_TRUE(test::wait_for(pair.server.get(), POLLRDHUP));
  EXPECT_FALSE(is_shut_down(pair.server.get())) << "what was received is still there";
}

}  // namespace
}  // namespace serverd
