#include "worker/listener.h"

#include "common/log.h"
#include "tests/support/tcp_pair.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>

namespace serverd {
namespace {

using namespace std::chrono_literals;

/// The soft limit of descriptors, such that not one more can be opened, while it lives.
class NoMoreDescriptors final {
 public:
  NoMoreDescriptors() {
    // UBSan looks at the first object of a type through a pipe(2), which it could not make later.
    log::error("{}: {}", std::string("before"), std::string("there are no more descriptors"));
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit limit = before_;
    const int lowest_free = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    ::close(lowest_free);
    limit.rlim_cur = static_cast<rlim_t>(lowest_free);
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoMoreDescriptors(const NoMoreDescriptors&) = delete;
  NoMoreDescriptors& operator=(const NoMoreDescriptors&) = delete;

 private:
  rlimit before_{};
};

std::size_t count_of(const std::string& part, const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

class ListenerTest : public testing::Test {
 protected:
  /// A client whose connection stands in the backlog when this returns.
  void connect() {
    clients_.push_back(connect_to(address_));
    ASSERT_TRUE(test::wait_for(clients_.back().get(), POLLOUT));
  }
  bool accepts(std::size_t count) {
    return test::eventually([&] {
      loop_.run_once(10ms);
      return accepted_.size() >= count;
    });
  }

  Loop loop_;
  std::vector<UniqueFd> accepted_;
  std::vector<std::string> peers_;
  std::vector<UniqueFd> clients_;
  Listener listener_{loop_, listen_on(test::loopback(), 128),
                     [this](UniqueFd fd, const SocketAddress& peer) {
                       accepted_.push_back(std::move(fd));
                       peers_.push_back(peer.to_string());
                     }};
  SocketAddress address_ = listener_.address();
};

TEST_F(ListenerTest, AcceptsAndNamesThePeer) {
  connect();
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(peers_.front(), SocketAddress::local_of(clients_.front().get()).to_string());
}

TEST_F(ListenerTest, GivesSocketsThatNeitherBlockNorAreInherited) {
  connect();
  ASSERT_TRUE(accepts(1));
  const int fd = accepted_.front().get();
  EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
  EXPECT_TRUE((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

TEST(PrepareSocket, TakesUrgentDataInlineAndNoticesADeadPeer) {
  const test::TcpPair pair = test::tcp_pair();
  const int fd = pair.client.get();
  ASSERT_EQ(socket_option(fd, SOL_SOCKET, SO_OOBINLINE), 0);
  prepare_socket(fd);
  EXPECT_EQ(socket_option(fd, SOL_SOCKET, SO_OOBINLINE), 1);
  EXPECT_EQ(socket_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
}

TEST_F(ListenerTest, ConnectionsAreBornWithWhatTheyNeed) {
  connect();
  ASSERT_TRUE(accepts(1));
  const int fd = accepted_.front().get();
  EXPECT_EQ(socket_option(fd, SOL_SOCKET, SO_OOBINLINE), 1);
  EXPECT_EQ(socket_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
}

TEST_F(ListenerTest, AcceptsABoundedNumberATurn) {
  for (int i = 0; i < 100; ++i) connect();
  ASSERT_TRUE(test::eventually([&] {
    loop_.run_once(10ms);
    return !accepted_.empty();
  }));
  EXPECT_LE(accepted_.size(), 64U);
  EXPECT_TRUE(accepts(100)) << accepted_.size();
}

TEST_F(ListenerTest, TakesNobodyWhilePaused) {
  listener_.pause();
  connect();
  loop_.run_once(20ms);
  EXPECT_TRUE(accepted_.empty());
  listener_.resume();
  EXPECT_TRUE(accepts(1));
}

TEST_F(ListenerTest, PausedByItsOwnCallbackItStopsAtOnce) {
  std::size_t count = 0;
  Listener* itself = nullptr;
  Listener listener(loop_, listen_on(test::loopback(), 16), [&](UniqueFd, const SocketAddress&) {
    ++count;
    itself->pause();
  });
  itself = &listener;
  address_ = listener.address();
  for (int i = 0; i < 3; ++i) connect();
  ASSERT_TRUE(test::eventually([&] {
    loop_.run_once(10ms);
    return count > 0;
  }));
  loop_.run_once(20ms);
  EXPECT_EQ(count, 1U);
}

TEST_F(ListenerTest, TakesTheWholeBacklogAtAStopEvenIfPaused) {
  for (int i = 0; i < 100; ++i) connect();
  listener_.pause();
  listener_.accept_backlog();
  EXPECT_EQ(accepted_.size(), 100U);
}

TEST_F(ListenerTest, AnEmptyBacklogIsTakenAtOnce) {
  listener_.accept_backlog();
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(ListenerTest, WithoutDescriptorsItWaitsSaysSoOnceAndGoesOnByItself) {
  connect();
  connect();
  testing::internal::CaptureStderr();
  {
    const NoMoreDescriptors none;
    loop_.run_once(1s);
    const auto before = Clock::now();
    loop_.run_once(50ms);
    EXPECT_GE(Clock::now() - before, 45ms) << "the loop must not spin";
    for (int i = 0; i < 3; ++i) loop_.run_once(250ms);  // it tries, and fails, again
    EXPECT_TRUE(accepted_.empty());
  }
  EXPECT_TRUE(accepts(2)) << "the newcomers have waited in the backlog";
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(count_of("Cannot accept on " + address_.to_string() + ": Too many open files", log), 1U)
      << log;
  EXPECT_EQ(count_of("Accepting on " + address_.to_string() + " again", log), 1U) << log;
}

TEST_F(ListenerTest, APauseIsStrongerThanTheRetry) {
  connect();
  {
    const NoMoreDescriptors none;
    loop_.run_once(1s);
  }
  listener_.pause();
  const auto retry_is_over = Clock::now() + 300ms;
  while (Clock::now() < retry_is_over) loop_.run_once(50ms);
  EXPECT_TRUE(accepted_.empty());
  listener_.resume();
  EXPECT_TRUE(accepts(1));
}

}  // namespace
}  // namespace serverd
