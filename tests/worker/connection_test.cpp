#include "worker/connection.h"

#include "common/ledger.h"
#include "common/loop/loop.h"
#include "tests/support/service_rig.h"
#include "worker/intake.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

#include <sys/socket.h>

namespace serverd {
namespace {

using namespace std::chrono_literals;
using ledger::Cause;
using ledger::Slot;
using ledger::SlotState;
using test::TcpPair;

/// Takes bytes when `least` of them are there or nothing follows, and says `output`.
struct FakeSession final : Session {
  Taken on_bytes(std::span<const std::byte> bytes, bool last) noexcept override {
    ++calls;
    if (blocked) return {.blocked = true};
    if (crowd_at > 0 && text.size() >= crowd_at && !deaf) return {.crowded = true};
    if (stubborn || (bytes.size() < least && !last)) return {};
    taken.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (echoes) text += taken.substr(taken.size() - bytes.size());
    return {.protocol = bytes.size(), .deferred = defers};
  }
  bool leaves_bytes() const noexcept override { return true; }
  bool answers() const noexcept override { return echoes || !text.empty(); }
  bool more_output() const noexcept override { return more; }
  std::optional<Cause> ending() const noexcept override { return ending_for; }
  void on_deaf() noexcept override { deaf = true; }
  std::span<const std::byte> output(std::uint64_t sent) noexcept override {
    if (crowd_at > 0 && sent >= text.size()) crowd_at = 0;  // there is room again
    const std::string_view rest = std::string_view(text).substr(std::min(sent, text.size()));
    return std::as_bytes(std::span(rest));
  }
  void on_idle() noexcept override { ++idle; }
  void on_end(Cause cause, std::error_code) noexcept override { ended = cause; }

  std::size_t least = 1;
  bool stubborn = false;  ///< takes nothing, even what is last
  bool blocked = false;
  bool defers = false;
  bool echoes = false;
  bool more = false;
  bool deaf = false;
  std::size_t crowd_at = 0;  ///< takes nothing while so much is said and not sent
  std::optional<Cause> ending_for;
  std::string text;
  std::string taken;
  int calls = 0;
  int idle = 0;
  std::optional<Cause> ended;
};

class ConnectionTest : public testing::Test, protected ConnectionHost {
 protected:
  void on_finished(Connection&, Cause cause, std::error_code error) override {
    EXPECT_FALSE(finished_) << "once";
    finished_ = cause;
    error_ = error;
  }
  void on_stalled(Connection& connection, std::error_code) override {
    ++stalls_;
    connection.pause();
  }
  void on_progress(Connection&) override {}
  void on_deferred(Connection&) override { ++deferred_; }

  int client() const { return pair_.client.get(); }
  int server() const { return connection_fd_; }

  /// A connection with a session that `prepare` has set up.
  template <typename Prepare>
  void connect(Prepare prepare, Clock::duration idle_timeout = 0s) {
    Slot& slot = ledger_.slots()[0];
    slot.cookie = socket_cookie(pair_.server.get());
    slot.state = SlotState::kOpen;
    start(prepare, idle_timeout, Connection::Origin::kAccepted);
  }
  void connect() {
    connect([](FakeSession&) {});
  }
  void connect_with(Clock::duration idle_timeout) {
    connect([](FakeSession&) {}, idle_timeout);
  }

  /// Its worker is dead, another goes on with the socket.
  template <typename Prepare>
  void die_and_resume(Prepare prepare) {
    connection_.reset();
    start(prepare, 0s, Connection::Origin::kResumed);
  }

  /// As many turns as it takes, up to a second.
  template <typename Condition>
  bool turn_until(Condition condition, Clock::duration at_most = 1s) {
    const auto deadline = Clock::now() + at_most;
    while (!condition()) {
      if (Clock::now() > deadline) return false;
      loop_.run_once(5ms);
    }
    return true;
  }
  bool turn_until_finished(Clock::duration at_most = 1s) {
    return turn_until([&] { return finished_.has_value(); }, at_most);
  }
  void turn_for(Clock::duration time) {
    turn_until([] { return false; }, time);
  }

  void send(std::string_view bytes) {
    test::send_all(client(), bytes);
    sent_ += bytes.size();
    ASSERT_TRUE(test::arrived(server(), sent_ - ledger_.slots()[0].bytes));
  }
  void finish() {
    ::shutdown(client(), SHUT_WR);
    ASSERT_TRUE(test::ended(server()));
  }
  void reset() {
    test::reset_connection(pair_.client);
    ASSERT_TRUE(test::wait_for(server(), 0));
  }
  /// What the client has received by now.
  std::string received() {
    std::string text(1 << 20, '\0');
    const ssize_t n = ::recv(client(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  /// What the client gets while the loop turns, until it is `size` bytes.
  std::string receive(std::size_t size) {
    std::string text;
    turn_until([&] { return (text += received()).size() >= size; }, 10s);
    return text;
  }

  TcpPair pair_ = test::tcp_pair();
  UniqueFd memory_ = ledger::create(5000, "fake", 1);
  ledger::Ledger ledger_{memory_.get(), Mapping::Access::kReadWrite};
  Loop loop_;
  Intake intake_{ledger_};
  int connection_fd_ = -1;
  FakeSession* session_ = nullptr;
  std::unique_ptr<Connection> connection_;
  std::optional<Cause> finished_;
  std::error_code error_;
  int stalls_ = 0;
  int deferred_ = 0;
  std::size_t sent_ = 0;

 private:
  template <typename Prepare>
  void start(Prepare prepare, Clock::duration idle_timeout, Connection::Origin origin) {
    auto session = std::make_unique<FakeSession>();
    prepare(*session);
    session_ = session.get();
    UniqueFd fd = duplicate(pair_.server.get());
    connection_fd_ = fd.get();
    ConnectionHost& host = *this;
    connection_ =
        std::make_unique<Connection>(loop_, host, intake_, std::move(fd), 0, ledger_.slots()[0],
                                     std::move(session), idle_timeout, origin);
  }
};

auto saying(std::string text) {
  return [text = std::move(text)](FakeSession& session) { session.text = text; };
}
auto waiting_for(std::size_t least) {
  return [least](FakeSession& session) { session.least = least; };
}

// What the peer is told

TEST_F(ConnectionTest, GreetsAtOnceAndOnce) {
  connect(saying("hello"));
  EXPECT_EQ(receive(5), "hello");
  send("x");
  turn_for(20ms);
  EXPECT_EQ(received(), "");
}

TEST_F(ConnectionTest, DoesNotGreetAgainAfterAWorkersDeath) {
  connect(saying("hello"));
  EXPECT_EQ(receive(5), "hello");
  for (int i = 0; i < 3; ++i) {
    die_and_resume(saying("hello"));
    turn_for(10ms);
    EXPECT_EQ(received(), "");
  }
}

TEST_F(ConnectionTest, GreetsForAWorkerThatDiedBefore) {
  die_and_resume(saying("hello"));
  EXPECT_EQ(receive(5), "hello");
}

TEST_F(ConnectionTest, SaysWhatHasBecomeDue) {
  connect(saying("one"));
  EXPECT_EQ(receive(3), "one");
  session_->text = "onetwo";
  send("x");
  EXPECT_EQ(receive(3), "two");
}

TEST_F(ConnectionTest, TearsNothingWhateverThePeerReadsAndWhoeverDies) {
  const int tiny = 4096;
  ::setsockopt(pair_.server.get(), SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
  ::setsockopt(client(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny);
  const std::string text = test::stream_bytes(100'000, 1);
  connect(saying(text));
  std::string got;
  for (int i = 0; i < 20; ++i) {
    turn_for(5ms);  // the socket is full, or the client has room
    got += received();
    die_and_resume(saying(text));
    EXPECT_FALSE(finished_);
  }
  EXPECT_LT(got.size(), text.size());
  got += receive(text.size() - got.size());
  EXPECT_TRUE(got == text) << got.size() << " bytes";
  turn_for(10ms);
  EXPECT_EQ(received(), "");
}

TEST_F(ConnectionTest, APeerThatDoesNotReadCostsNoTurns) {
  connect(saying(test::stream_bytes(20'000'000, 1)));
  turn_for(50ms);
  int turns = 0;
  turn_until([&] { return ++turns > 1000; }, 50ms);
  EXPECT_LT(turns, 20);
}

TEST_F(ConnectionTest, APeerThatWasToldEverythingCostsNoTurns) {
  connect(saying("hello"));
  EXPECT_EQ(receive(5), "hello");
  int turns = 0;
  turn_until([&] { return ++turns > 1000; }, 50ms);
  EXPECT_LT(turns, 20);
}

TEST_F(ConnectionTest, ReadsFromAPeerThatDoesNotRead) {
  connect(saying(test::stream_bytes(20'000'000, 1)));
  turn_for(20ms);
  send("still heard");
  EXPECT_TRUE(turn_until([&] { return session_->taken == "still heard"; }));
}

TEST_F(ConnectionTest, AResetIsAResetThoughTheGreetingMetItFirst) {
  test::send_all(client(), "data");
  test::reset_connection(pair_.client);
  ASSERT_TRUE(test::wait_for(pair_.server.get(), 0));
  connect(saying("hello"));
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(session_->taken, "data");
  EXPECT_EQ(finished_, Cause::kReset);
  EXPECT_EQ(error_, std::errc::connection_reset) << error_.message();
}

TEST_F(ConnectionTest, ThePeersEndIsAnEndThoughItTakesNoAnswer) {
  test::send_all(client(), "data");
  pair_.client.reset();
  ASSERT_TRUE(test::ended(pair_.server.get()));
  connect(saying("hello"));
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kEof);
}

// Bytes that the service commits

TEST_F(ConnectionTest, DeferredBytesStayInTheSocketUntilTheyAreSettled) {
  connect([](FakeSession& session) { session.defers = session.echoes = true; });
  send("data");
  ASSERT_TRUE(turn_until([&] { return deferred_ == 1; }));
  EXPECT_EQ(bytes_waiting_in(server()), 4U);
  EXPECT_EQ(ledger_.slots()[0].bytes, 0U);
  EXPECT_EQ(received(), "") << "no answer to what may be forgotten yet";
  connection_->settle();
  EXPECT_EQ(bytes_waiting_in(server()), 0U);
  EXPECT_EQ(ledger_.slots()[0].bytes, 4U);
  EXPECT_EQ(ledger_.counters().bytes, 4U);
  EXPECT_EQ(receive(4), "data");
}

TEST_F(ConnectionTest, DeferredBytesThatAreTakenBackAreShownAgain) {
  connect([](FakeSession& session) { session.defers = true; });
  send("data");
  ASSERT_TRUE(turn_until([&] { return deferred_ == 1; }));
  connection_->take_back();
  ASSERT_TRUE(turn_until([&] { return deferred_ == 2; }));
  EXPECT_EQ(session_->taken, "datadata");
  EXPECT_EQ(ledger_.slots()[0].bytes, 0U);
}

TEST_F(ConnectionTest, ThePeersEndComesAfterTheDeferredBytes) {
  connect([](FakeSession& session) { session.defers = true; });
  send("data");
  finish();
  ASSERT_TRUE(turn_until([&] { return deferred_ == 1; }));
  EXPECT_FALSE(finished_);
  connection_->settle();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(session_->taken, "data");
  EXPECT_EQ(finished_, Cause::kEof);
}

// A peer that does not read

constexpr std::size_t kMuch = 20'000'000;

TEST_F(ConnectionTest, ACrowdedSessionIsShownTheRestWhenThePeerHasRead) {
  const std::string text = test::stream_bytes(kMuch, 1);
  connect([&](FakeSession& session) {
    session.text = text;
    session.crowd_at = 1;
  });
  send("data");
  turn_for(30ms);
  EXPECT_EQ(session_->taken, "");
  int turns = 0;
  turn_until([&] { return ++turns > 1000; }, 30ms);
  EXPECT_LT(turns, 20) << "waiting costs nothing";
  EXPECT_TRUE(receive(text.size()) == text);
  EXPECT_TRUE(turn_until([&] { return session_->taken == "data"; }));
}

TEST_F(ConnectionTest, ACrowdedSessionIsShownTheRestWhenThePeerIsGone) {
  connect([](FakeSession& session) {
    session.text = test::stream_bytes(kMuch, 1);
    session.crowd_at = 1;
  });
  send("data");
  turn_for(30ms);
  reset();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_TRUE(session_->deaf);
  EXPECT_EQ(session_->taken, "data");
  EXPECT_EQ(finished_, Cause::kReset);
}

TEST_F(ConnectionTest, APeerThatHasFinishedStillGetsItsOutput) {
  const std::string text = test::stream_bytes(kMuch, 1);
  connect(saying(text));
  finish();
  turn_for(30ms);
  EXPECT_FALSE(finished_);
  EXPECT_TRUE(receive(text.size()) == text);
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kEof);
}

TEST_F(ConnectionTest, APeerThatHasFinishedWaitsForOutputThatIsAnnounced) {
  connect([](FakeSession& session) {
    session.text = "one";
    session.more = true;
  });
  finish();
  turn_for(10ms);
  EXPECT_FALSE(finished_);
  session_->text = "onetwo";
  session_->more = false;
  connection_->settle();
  EXPECT_EQ(receive(6), "onetwo");
  EXPECT_EQ(finished_, Cause::kEof);
}

TEST_F(ConnectionTest, APeerThatHasFinishedAndNeverReadsIsIdle) {
  connect(saying(test::stream_bytes(kMuch, 1)), 30ms);
  finish();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kIdle);
}

TEST_F(ConnectionTest, EndsForTheSessionWhenItsOutputIsSent) {
  const std::string text = test::stream_bytes(kMuch, 1);
  connect([&](FakeSession& session) { session.text = text; });
  session_->ending_for = Cause::kEof;
  connection_->settle();
  EXPECT_FALSE(finished_);
  EXPECT_TRUE(receive(text.size()) == text);
  EXPECT_TRUE(turn_until_finished());
}

TEST_F(ConnectionTest, ASlowPeerIsNotWaitedFor) {
  connect(saying(test::stream_bytes(kMuch, 1)));
  session_->ending_for = Cause::kSlow;
  connection_->settle();
  EXPECT_EQ(finished_, Cause::kSlow);
}

// Bytes that the session leaves in the socket

TEST_F(ConnectionTest, HeldBytesAreShownAgainOnlyWithMoreBehindThem) {
  connect(waiting_for(10));
  send("12345");
  EXPECT_TRUE(turn_until([&] { return session_->calls == 1; }));
  int turns = 0;
  turn_until([&] { return ++turns > 1000; }, 50ms);
  EXPECT_LT(turns, 20) << "the loop spins";
  EXPECT_EQ(session_->calls, 1);
  send("6");
  EXPECT_TRUE(turn_until([&] { return session_->calls == 2; }));
  send("7890");
  EXPECT_TRUE(turn_until([&] { return session_->taken == "1234567890"; }));
  send("x");
  turn_for(20ms);
  EXPECT_EQ(session_->calls, 4) << "and a single byte is heard again";
}

TEST_F(ConnectionTest, HeldBytesAreShownToTheSuccessor) {
  connect(waiting_for(10));
  send("12345");
  EXPECT_TRUE(turn_until([&] { return session_->calls == 1; }));
  die_and_resume(waiting_for(10));
  EXPECT_TRUE(turn_until([&] { return session_->calls == 1; }));
  send("67890");
  EXPECT_TRUE(turn_until([&] { return session_->taken == "1234567890"; }));
}

TEST_F(ConnectionTest, HeldBytesAreTakenAtThePeersEnd) {
  connect(waiting_for(10));
  send("12345");
  turn_for(10ms);
  finish();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(session_->taken, "12345");
  EXPECT_EQ(finished_, Cause::kEof);
  EXPECT_EQ(session_->ended, Cause::kEof);
  EXPECT_EQ(ledger_.slots()[0].state, SlotState::kClosing);
}

TEST_F(ConnectionTest, HeldBytesThatComeWithThePeersEndAreTaken) {
  connect(waiting_for(10));
  send("12345");
  finish();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(session_->taken, "12345");
  EXPECT_EQ(finished_, Cause::kEof);
}

TEST_F(ConnectionTest, HeldBytesAreTakenAtAReset) {
  connect(waiting_for(10));
  send("12345");
  turn_for(10ms);
  reset();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(session_->taken, "12345");
  EXPECT_EQ(finished_, Cause::kReset);
}

TEST_F(ConnectionTest, BytesThatTheSessionNeverTakesDoNotKeepItFromEnding) {
  connect([](FakeSession& session) { session.stubborn = true; });
  send("12345");
  turn_for(10ms);
  finish();
  EXPECT_TRUE(turn_until_finished());
}

// A stop

TEST_F(ConnectionTest, AStopEndsAConnectionWithoutBytesAtOnce) {
  connect();
  connection_->stop_after_received();
  EXPECT_EQ(finished_, Cause::kStopped);
}

TEST_F(ConnectionTest, AStopTakesWhatHasArrived) {
  connect();
  send("12345");
  connection_->stop_after_received();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kStopped);
  EXPECT_EQ(session_->taken, "12345");
}

TEST_F(ConnectionTest, AStopTakesHeldBytes) {
  connect(waiting_for(10));
  send("12345");
  EXPECT_TRUE(turn_until([&] { return session_->calls == 1; }));
  connection_->stop_after_received();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kStopped);
  EXPECT_EQ(session_->taken, "12345");
}

TEST_F(ConnectionTest, AStopTakesBytesThatTheSessionHadNotSeenAndWouldHold) {
  connect(waiting_for(10));
  send("12345");
  connection_->stop_after_received();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kStopped);
  EXPECT_EQ(session_->taken, "12345");
}

TEST_F(ConnectionTest, AStopTakesHeldBytesWhenThereIsRoomAgain) {
  connect(waiting_for(10));
  send("12345");
  EXPECT_TRUE(turn_until([&] { return session_->calls == 1; }));
  session_->blocked = true;
  connection_->stop_after_received();
  EXPECT_TRUE(turn_until([&] { return stalls_ == 1; }));
  session_->blocked = false;
  connection_->resume();
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(session_->taken, "12345");
}

// Silence

TEST_F(ConnectionTest, ASilentPeerIsIdle) {
  connect_with(30ms);
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kIdle);
  EXPECT_EQ(session_->idle, 1);
  EXPECT_EQ(session_->ended, Cause::kIdle);
}

TEST_F(ConnectionTest, APeerThatSendsNowAndThenIsNotIdle) {
  connect_with(100ms);
  for (int i = 0; i < 10; ++i) {
    send("x");
    turn_for(30ms);
  }
  EXPECT_FALSE(finished_);
  EXPECT_TRUE(turn_until_finished());
}

TEST_F(ConnectionTest, APeerWhoseHeldBytesGrowIsNotIdle) {
  connect(waiting_for(100), 100ms);
  for (int i = 0; i < 10; ++i) {
    send("x");
    turn_for(30ms);
  }
  EXPECT_FALSE(finished_);
  EXPECT_EQ(session_->taken, "");
}

TEST_F(ConnectionTest, APeerWhoseHeldBytesDoNotGrowIsIdle) {
  connect(waiting_for(100), 30ms);
  send("12345");
  ASSERT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kIdle);
  EXPECT_EQ(session_->taken, "");
}

TEST_F(ConnectionTest, BytesThatWaitToBeReadCountAsHeard) {
  connect_with(30ms);
  const auto deadline = Clock::now() + 60ms;
  test::wait_for(client(), POLLIN, 60);  // this worker was not given the processor
  send("x");
  EXPECT_LT(deadline, Clock::now() + 1ms);
  loop_.run_once(0ms);
  loop_.run_once(0ms);
  EXPECT_FALSE(finished_);
  EXPECT_EQ(session_->taken, "x");
}

TEST_F(ConnectionTest, BytesThatComeInTheVeryTurnOfTheDeadlineCountAsHeard) {
  connect_with(30ms);
  // Ready at once, and called before the timers of a turn.
  const TcpPair other = test::tcp_pair();
  const Watch sender(loop_, other.client.get(), POLLOUT, [&](short) {
    if (sent_ == 0) send("x");
  });
  test::wait_for(client(), POLLIN, 60);
  loop_.run_once(0ms);
  EXPECT_FALSE(finished_);
  loop_.run_once(0ms);
  EXPECT_EQ(session_->taken, "x");
}

TEST_F(ConnectionTest, TheClockStopsWhileNothingIsRead) {
  connect_with(50ms);
  connection_->pause();
  send("while we do not read");
  turn_for(150ms);
  EXPECT_FALSE(finished_);
  EXPECT_EQ(session_->calls, 0);
  connection_->resume();
  turn_for(25ms);
  EXPECT_FALSE(finished_);
  EXPECT_EQ(session_->taken, "while we do not read");
  EXPECT_TRUE(turn_until_finished());
  EXPECT_EQ(finished_, Cause::kIdle);
}

TEST_F(ConnectionTest, TheClockBeginsAnewAfterAPauseInWhichNothingCame) {
  connect_with(60ms);
  connection_->pause();
  turn_for(150ms);
  connection_->resume();
  turn_for(30ms);
  EXPECT_FALSE(finished_);
  EXPECT_TRUE(turn_until_finished());
}

TEST_F(ConnectionTest, ResumingOneThatWasNotPausedGivesItNoTime) {
  connect_with(50ms);
  const auto resumed = [&] {
    connection_->resume();
    return finished_.has_value();
  };
  EXPECT_TRUE(turn_until(resumed));
}

TEST_F(ConnectionTest, WhileThereIsNoRoomNothingIsReadOrLost) {
  connect();
  session_->blocked = true;
  send("12345");
  EXPECT_TRUE(turn_until([&] { return stalls_ == 1; }));
  turn_for(20ms);
  EXPECT_EQ(stalls_, 1);
  session_->blocked = false;
  connection_->resume();
  EXPECT_TRUE(turn_until([&] { return session_->taken == "12345"; }));
}

}  // namespace
}  // namespace serverd
