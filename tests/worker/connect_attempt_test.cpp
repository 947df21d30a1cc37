#include "worker/connect_attempt.h"

#include "tests/support/tcp_pair.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace serverd {
namespace {

using namespace std::chrono_literals;

struct Attempt {
  explicit Attempt(const SocketAddress& address, Clock::duration timeout = 10s)
      : attempt(loop, address, timeout, [this](UniqueFd made, std::error_code why) {
          fd = std::move(made);
          error = why;
          ++calls;
        }) {}

  void finish() {
    const auto deadline = Clock::now() + 10s;
    while (calls == 0 && Clock::now() < deadline) loop.run_once(5ms);
    loop.run_once(0ms);
  }

  Loop loop;
  UniqueFd fd;
  std::error_code error;
  int calls = 0;
  ConnectAttempt attempt;
};

TEST(ConnectAttempt, GivesTheConnectionOnce) {
  const UniqueFd listener = listen_on(test::loopback(), 1);
  Attempt attempt(SocketAddress::local_of(listener.get()));
  attempt.finish();
  EXPECT_EQ(attempt.calls, 1);
  EXPECT_FALSE(attempt.error) << attempt.error.message();
  EXPECT_TRUE(SocketAddress::peer_of(attempt.fd.get()));
  EXPECT_EQ(socket_option(attempt.fd.get(), SOL_SOCKET, SO_OOBINLINE), 1);
}

TEST(ConnectAttempt, SaysWhyItFailed) {
  const std::uint16_t closed = SocketAddress::local_of(listen_on(test::loopback(), 1).get()).port();
  Attempt attempt(test::loopback(closed));
  attempt.finish();
  EXPECT_EQ(attempt.calls, 1);
  EXPECT_EQ(attempt.error, std::errc::connection_refused) << attempt.error.message();
  EXPECT_FALSE(attempt.fd);
}

TEST(ConnectAttempt, APeerThatDoesNotAnswerTimesOut) {
  const UniqueFd listener = listen_on(test::loopback(), 0);
  const SocketAddress address = SocketAddress::local_of(listener.get());
  const UniqueFd first = connect_to(address);  // fills the backlog
  ASSERT_TRUE(test::wait_for(first.get(), POLLOUT));
  Attempt attempt(address, 50ms);
  attempt.finish();
  EXPECT_EQ(attempt.calls, 1);
  EXPECT_EQ(attempt.error, std::errc::timed_out) << attempt.error.message();
}

TEST(ConnectAttempt, WhatFailsAtOnceIsThrown) {
  Loop loop;
  EXPECT_THROW(ConnectAttempt(loop, SocketAddress(), 1s, [](UniqueFd, std::error_code) {}),
               std::system_error);
}

}  // namespace
}  // namespace serverd
