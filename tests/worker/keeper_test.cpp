#include "worker/keeper.h"

#include "common/os/limits.h"
#include "common/os/memfd.h"
#include "common/parcel.h"
#include "tests/support/tcp_pair.h"
#include "worker/tcp_progress.h"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace serverd {
namespace {

using test::eventually;
using test::TcpPair;

/// The children of a process, dead ones included.
std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  return {std::istream_iterator<pid_t>(file), {}};
}

/// As ps(1) shows it: R, S, T, Z …; '-' if there is no such process.
char process_state(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto name_end = text.rfind(") ");
  return name_end == std::string::npos ? '-' : text[name_end + 2];
}

std::string content_of(int fd) {
  std::string text(4096, '\0');
  const ssize_t n = ::recv(fd, text.data(), text.size(), MSG_DONTWAIT);
  text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return text;
}

/// A forked worker that has the server's ends of `pairs_`, and a keeper. We hold its parcel.
class KeeperTest : public testing::Test {
 protected:
  using Life = std::function<void(Keeper& keeper)>;

  KeeperTest() {
    raise_descriptor_limit();
    // Orphaned keepers come to us, to be reaped.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  ~KeeperTest() override {
    if (worker_ > 0) kill_worker();
    if (keeper_ > 0) {
      ::kill(keeper_, SIGKILL);
      ::waitpid(keeper_, nullptr, 0);
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  }

  /// A connection whose peer has sent `text`. It is the worker's after `start_worker`.
  void connect(const std::string& text, const SocketAddress& at = test::loopback()) {
    pairs_.push_back(test::tcp_pair(at));
    test::send_all(pairs_.back().client.get(), text);
    ASSERT_TRUE(eventually([&] { return bytes_waiting_in(server(pairs_.back())) == text.size(); }));
    expected_[socket_cookie(server(pairs_.back()))] = text;
  }

  /// Until the worker has a keeper and `life` has returned; then it waits to be killed.
  /// `descriptor_limit`: 0: ours.
  void start_worker(
      const Life& life = [](Keeper&) {}, rlim_t descriptor_limit = 0) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    from_worker_ = UniqueFd::adopt(ends[0]);
    UniqueFd report = UniqueFd::adopt(ends[1]);
    worker_ = ::fork();
    if (worker_ == 0) live(report, life, descriptor_limit);
    ASSERT_GT(worker_, 0);
    report.reset();
    parcel_.entrance.reset();
    for (TcpPair& pair : pairs_) pair.server.reset();
    wait_for_report();
    const auto children = children_of(worker_);
    keeper_ = children.empty() ? 0 : children.front();
  }
  /// Until the worker has called `report`.
  void wait_for_report() {
    char byte = 0;
    ASSERT_TRUE(test::wait_for(from_worker_.get(), POLLIN)) << "the worker hangs";
    ASSERT_EQ(::read(from_worker_.get(), &byte, 1), 1) << "the worker has died";
  }
  void report() const { static_cast<void>(::write(report_, "x", 1)); }

  void kill_worker() {
    ::kill(worker_, SIGKILL);
    ::waitpid(worker_, nullptr, 0);
    worker_ = 0;
  }
  bool complete() const { return parcel_complete(parcel_.held.get()); }
  void kill_worker_and_wait_for_parcel() {
    kill_worker();
    ASSERT_TRUE(eventually([&] { return complete(); })) << "the keeper does not finish";
  }

  /// All connections that were made, and nothing else, are in the parcel with their bytes.
  void expect_all_parked() {
    std::map<std::uint64_t, std::string> parked;
    for (const UniqueFd& fd : take_out_of_parcel(parcel_.held.get()))
      EXPECT_TRUE(parked.emplace(socket_cookie(fd.get()), content_of(fd.get())).second)
          << "a descriptor was parked twice, or is none of a socket";
    EXPECT_EQ(parked, expected_);
  }

  Parcel parcel_ = make_parcel();
  std::vector<TcpPair> pairs_;
  std::map<std::uint64_t, std::string> expected_;  ///< unread bytes, by SO_COOKIE
  pid_t worker_ = 0;
  pid_t keeper_ = 0;

 private:
  static int server(const TcpPair& pair) { return pair.server.get(); }

  [[noreturn]] void live(const UniqueFd& to_parent, const Life& life, rlim_t descriptor_limit) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (TcpPair& pair : pairs_) pair.client.reset();
    parcel_.held.reset();
    report_ = to_parent.get();
    const rlimit limit{descriptor_limit, descriptor_limit};
    if (descriptor_limit > 0) ::setrlimit(RLIMIT_NOFILE, &limit);
    try {
      Keeper keeper(std::move(parcel_.entrance));
      life(keeper);
      report();
      for (;;) ::pause();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
      ::_exit(1);
    }
  }

  UniqueFd from_worker_;
  int report_ = -1;
};

TEST_F(KeeperTest, ParksEveryConnectionWithItsUnreadBytes) {
  connect("one");
  connect("");
  connect("three", SocketAddress::from_host("::1", 0).value());
  start_worker();
  kill_worker_and_wait_for_parcel();
  expect_all_parked();
}

TEST_F(KeeperTest, ParksNothingElse) {
  connect("connection");
  std::vector<UniqueFd> others;
  start_worker([&](Keeper&) {
    others.push_back(listen_on(test::loopback(), 1));
    others.push_back(listen_on(SocketAddress::from_host("::1", 0).value(), 1));
    others.push_back(UniqueFd::adopt(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
    others.push_back(UniqueFd::adopt(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    others.push_back(UniqueFd::adopt(::open("/dev/null", O_RDWR | O_CLOEXEC)));
    others.push_back(sealed_text("text", "text"));
  });
  kill_worker_and_wait_for_parcel();
  expect_all_parked();
}

TEST_F(KeeperTest, KnowsWhatWasAcceptedAndWhatWasClosedSinceItWasMade) {
  connect("closed");
  const UniqueFd listener = listen_on(test::loopback(), 1);
  UniqueFd client = connect_to(SocketAddress::local_of(listener.get()));
  ASSERT_TRUE(test::wait_for(client.get(), POLLOUT));
  test::send_all(client.get(), "accepted");
  UniqueFd accepted;
  start_worker([&](Keeper&) {
    pairs_.clear();
    client.reset();
    accepted = UniqueFd::adopt(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    test::wait_for(accepted.get(), POLLIN);
  });
  kill_worker_and_wait_for_parcel();
  const std::vector<UniqueFd> parked = take_out_of_parcel(parcel_.held.get());
  ASSERT_EQ(parked.size(), 1U);
  EXPECT_EQ(content_of(parked.front().get()), "accepted");
}

TEST_F(KeeperTest, ParksConnectionsThatTheirPeersHaveEnded) {
  connect("finished");
  connect("was reset");
  ::shutdown(pairs_[0].client.get(), SHUT_WR);
  test::reset_connection(pairs_[1].client);
  for (const TcpPair& pair : pairs_) ASSERT_TRUE(test::wait_for(pair.server.get(), POLLRDHUP));
  start_worker();
  kill_worker_and_wait_for_parcel();
  expect_all_parked();
}

TEST_F(KeeperTest, ParksHundredsOfConnectionsInSeveralMessages) {
  constexpr std::size_t kConnections = 2 * kParcelMessageSize + 94;
  for (std::size_t i = 0; i < kConnections; ++i)
    ASSERT_NO_FATAL_FAILURE(connect(std::to_string(i)));
  start_worker();
  kill_worker_and_wait_for_parcel();
  std::vector<std::size_t> sizes;
  std::map<std::uint64_t, std::string> parked;
  for (const ParcelMessage& message : take_messages_out_of_parcel(parcel_.held.get())) {
    sizes.push_back(message.descriptors.size());
    for (const UniqueFd& fd : message.descriptors)
      parked[socket_cookie(fd.get())] = content_of(fd.get());
  }
  EXPECT_EQ(parked, expected_);
  EXPECT_EQ(sizes, (std::vector<std::size_t>{kParcelMessageSize, kParcelMessageSize, 94}));
}

TEST_F(KeeperTest, ParksAConnectionWhateverItsNumber) {
  connect("high");
  connect("above a limit that was lowered");
  UniqueFd& server = pairs_.back().server;
  server = UniqueFd::adopt(::fcntl(server.get(), F_DUPFD_CLOEXEC, 900));
  start_worker(
      [&](Keeper&) {
        UniqueFd& high = pairs_.front().server;
        high = UniqueFd::adopt(::fcntl(high.get(), F_DUPFD_CLOEXEC, 250));
      },
      300);
  kill_worker_and_wait_for_parcel();
  expect_all_parked();
}

TEST_F(KeeperTest, ParksEverythingWhenNoDescriptorIsLeft) {
  for (const char* text : {"one", "two", "three"}) connect(text);
  start_worker(
      [&](Keeper&) {
        for (TcpPair& pair : pairs_)  // to the end of the table
          pair.server = UniqueFd::adopt(::fcntl(pair.server.get(), F_DUPFD_CLOEXEC, 300));
        while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) continue;
      },
      310);
  kill_worker_and_wait_for_parcel();
  expect_all_parked();
}

TEST_F(KeeperTest, TheParcelIsCompleteWhenItHasExited) {
  connect("text");
  start_worker();
  EXPECT_FALSE(complete());
  ASSERT_GT(keeper_, 0);
  ::kill(keeper_, SIGSTOP);
  ASSERT_TRUE(eventually([&] { return process_state(keeper_) == 'T'; }));
  kill_worker();
  EXPECT_FALSE(complete()) << "nothing is parked yet";
  EXPECT_FALSE(parcel_filled(parcel_.held.get()));
  ::kill(keeper_, SIGCONT);
  int status = -1;
  ASSERT_EQ(::waitpid(keeper_, &status, 0), keeper_);
  keeper_ = 0;
  EXPECT_EQ(status, 0) << "it exits with 0";
  EXPECT_TRUE(complete());
  expect_all_parked();
}

TEST_F(KeeperTest, IsNotEndedBySignalsThatEndAWorker) {
  connect("text");
  start_worker();
  ASSERT_GT(keeper_, 0);
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGABRT})
    ::kill(keeper_, signal);
  kill_worker_and_wait_for_parcel();
  expect_all_parked();
}

TEST_F(KeeperTest, ADismissedOneParksNothingAndLeavesNoProcess) {
  connect("text");
  start_worker([](Keeper& keeper) { keeper.dismiss(); });
  EXPECT_TRUE(children_of(worker_).empty());
  EXPECT_FALSE(complete()) << "the worker itself still has the entrance";
  kill_worker_and_wait_for_parcel();
  EXPECT_FALSE(parcel_filled(parcel_.held.get()));
}

TEST_F(KeeperTest, IsLeftAloneWhileItLives) {
  connect("text");
  pid_t before = 0;
  start_worker([&](Keeper& keeper) {
    before = children_of(::getpid()).front();
    keeper.revive_if_dead();
    if (children_of(::getpid()) != std::vector<pid_t>{before}) ::_exit(1);
  });
  kill_worker_and_wait_for_parcel();
  expect_all_parked();
}

TEST_F(KeeperTest, ADeadOneIsReplacedByOneThatWorks) {
  connect("text");
  testing::internal::CaptureStderr();
  start_worker([&](Keeper& keeper) {
    report();
    siginfo_t info{};
    ::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
    keeper.revive_if_dead();
  });
  const pid_t first = keeper_;
  ASSERT_GT(first, 0);
  ::kill(first, SIGKILL);
  wait_for_report();
  const std::string log = testing::internal::GetCapturedStderr();
  const auto children = children_of(worker_);
  ASSERT_EQ(children.size(), 1U);
  keeper_ = children.front();
  EXPECT_NE(keeper_, first);
  EXPECT_NE(log.find("The keeper process " + std::to_string(first) + " died"), std::string::npos)
      << log;
  kill_worker_and_wait_for_parcel();
  expect_all_parked();
}

}  // namespace
}  // namespace serverd
