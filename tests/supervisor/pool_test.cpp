#include "supervisor/pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

namespace serverd {
namespace {

using namespace std::chrono_literals;

std::string ms(Clock::duration duration) {
  return std::to_string(std::chrono::duration_cast<Milliseconds>(duration).count()) + "ms";
}

/// Writes down what the pool does, on a clock of its own.
class FakeActions final : public PoolActions {
 public:
  bool start_worker() override {
    say(start_fails_ ? "start fails" : "start");
    return !start_fails_;
  }
  void signal_worker(int signal) override { say(std::string("SIG") + ::sigabbrev_np(signal)); }
  void arm_timer(Clock::duration delay) override {
    say("timer " + ms(delay));
    timer_armed_ = true;
  }
  void disarm_timer() override {
    if (timer_armed_) say("disarm");
    timer_armed_ = false;
  }
  Clock::time_point now() const override { return now_; }
  double jitter() override { return 0; }
  void on_state_changed(PoolState from, PoolState to, Clock::duration delay) override {
    say(std::string(pool_state_name(from)) + ">" + pool_state_name(to));
    last_delay_ = delay;
  }
  void on_deadline_exceeded(PoolState state, int signal) override {
    say(std::string("exceeded ") + pool_state_name(state) + " SIG" + ::sigabbrev_np(signal));
  }

  bool has_parked() const override { return parked_; }
  bool is_writing() const override { return writing_; }

  /// What was done since the last call: "timer 10000ms, down>starting, start".
  std::string take() { return std::exchange(said_, {}); }

  Clock::time_point now_{1h};
  bool start_fails_ = false;
  bool parked_ = false;
  bool writing_ = false;
  bool timer_armed_ = false;
  Clock::duration last_delay_{};

 private:
  void say(const std::string& what) { said_ += (said_.empty() ? "" : ", ") + what; }

  std::string said_;
};

class PoolTest : public testing::Test {
 protected:
  /// Brings a new pool into `state`.
  void reach(PoolState state) {
    if (state != PoolState::kDown) pool_.want_up();
    if (state == PoolState::kUp || state == PoolState::kDraining) pool_.ready();
    if (state == PoolState::kDraining) pool_.want_down(StopMode::kStop);
    if (state == PoolState::kBackoff) pool_.exited({1, 0});
    if (state == PoolState::kQuarantined) pool_.exited({78, 0});
    ASSERT_EQ(pool_.state(), state);
    actions_.take();
  }
  void send(PoolEvent event) {
    switch (event) {
      case PoolEvent::kWantUp:
        return pool_.want_up();
      case PoolEvent::kReady:
        return pool_.ready();
      case PoolEvent::kExited:
        return pool_.exited({0, SIGKILL});
      case PoolEvent::kTimer:
        actions_.timer_armed_ = false;
        return pool_.timer();
      case PoolEvent::kWantDown:
        return pool_.want_down(StopMode::kStop);
      case PoolEvent::kCount:
        FAIL();
    }
  }
  void fire_timer() { send(PoolEvent::kTimer); }

  FakeActions actions_;
  Pool pool_{RestartConfig{}, {5s, 30s}, actions_};
};

/// One cell of the table.
struct Cell {
  PoolState state;
  PoolEvent event;
  PoolState next;
  const char* done;
};

std::ostream& operator<<(std::ostream& out, const Cell& cell) {
  constexpr const char* kEvents[] = {"want_up", "ready", "exited", "timer", "want_down"};
  return out << pool_state_name(cell.state) << "_" << kEvents[static_cast<int>(cell.event)];
}

constexpr auto kDown = PoolState::kDown;
constexpr auto kStarting = PoolState::kStarting;
constexpr auto kUp = PoolState::kUp;
constexpr auto kDraining = PoolState::kDraining;
constexpr auto kBackoff = PoolState::kBackoff;
constexpr auto kQuarantined = PoolState::kQuarantined;

constexpr const char* kNothing = "";

// clang-format off
const Cell kCells[] = {
    {kDown, PoolEvent::kWantUp,   kStarting, "timer 10000ms, down>starting, start"},
    {kDown, PoolEvent::kReady,    kDown, kNothing},
    {kDown, PoolEvent::kExited,   kDown, kNothing},
    {kDown, PoolEvent::kTimer,    kDown, kNothing},
    {kDown, PoolEvent::kWantDown, kDown, kNothing},

    {kStarting, PoolEvent::kWantUp,   kStarting, kNothing},
    {kStarting, PoolEvent::kReady,    kUp, "timer 30000ms, starting>up"},
    {kStarting, PoolEvent::kExited,   kBackoff, "timer 100ms, starting>backoff"},
    {kStarting, PoolEvent::kTimer,    kStarting, "SIGKILL, exceeded starting SIGKILL"},
    {kStarting, PoolEvent::kWantDown, kStarting, "timer 5000ms"},

    {kUp, PoolEvent::kWantUp,   kUp, kNothing},
    {kUp, PoolEvent::kReady,    kUp, kNothing},
    {kUp, PoolEvent::kExited,   kStarting, "timer 10000ms, up>starting, start"},
    {kUp, PoolEvent::kTimer,    kUp, "SIGABRT, exceeded up SIGABRT, timer 2000ms"},
    {kUp, PoolEvent::kWantDown, kDraining, "SIGTERM, timer 5000ms, up>draining"},

    {kDraining, PoolEvent::kWantUp,   kDraining, kNothing},
    {kDraining, PoolEvent::kReady,    kDraining, kNothing},
    {kDraining, PoolEvent::kExited,   kDown, "disarm, draining>down"},
    {kDraining, PoolEvent::kTimer,    kDraining, "SIGKILL, exceeded draining SIGKILL, timer 5000ms"},
    {kDraining, PoolEvent::kWantDown, kDraining, kNothing},

    {kBackoff, PoolEvent::kWantUp,   kStarting, "timer 10000ms, backoff>starting, start"},
    {kBackoff, PoolEvent::kReady,    kBackoff, kNothing},
    {kBackoff, PoolEvent::kExited,   kBackoff, kNothing},
    {kBackoff, PoolEvent::kTimer,    kStarting, "timer 10000ms, backoff>starting, start"},
    {kBackoff, PoolEvent::kWantDown, kDown, "disarm, backoff>down"},

    {kQuarantined, PoolEvent::kWantUp,   kStarting, "timer 10000ms, quarantined>starting, start"},
    {kQuarantined, PoolEvent::kReady,    kQuarantined, kNothing},
    {kQuarantined, PoolEvent::kExited,   kQuarantined, kNothing},
    {kQuarantined, PoolEvent::kTimer,    kStarting, "timer 10000ms, quarantined>starting, start"},
    {kQuarantined, PoolEvent::kWantDown, kDown, "disarm, quarantined>down"},
};
// clang-format on
static_assert(std::size(kCells) == static_cast<std::size_t>(PoolState::kCount) *
                                       static_cast<std::size_t>(PoolEvent::kCount));

class PoolTable : public PoolTest, public testing::WithParamInterface<Cell> {};

TEST_P(PoolTable, DoesWhatTheCellSays) {
  reach(GetParam().state);
  send(GetParam().event);
  EXPECT_EQ(actions_.take(), GetParam().done);
  EXPECT_STREQ(pool_state_name(pool_.state()), pool_state_name(GetParam().next));
}

INSTANTIATE_TEST_SUITE_P(Cells, PoolTable, testing::ValuesIn(kCells),
                         [](const auto& cell) { return testing::PrintToString(cell.param); });

TEST_F(PoolTest, AStartThatFailsCountsAsADeathBeforeReadiness) {
  actions_.start_fails_ = true;
  pool_.want_up();
  EXPECT_EQ(actions_.take(),
            "timer 10000ms, down>starting, start fails, timer 100ms, starting>backoff");
  fire_timer();
  EXPECT_EQ(actions_.take(),
            "timer 10000ms, backoff>starting, start fails, timer 200ms, starting>backoff");
  for (int i = 0; i < 3; ++i) fire_timer();
  EXPECT_EQ(pool_.state(), PoolState::kQuarantined) << "the fifth";
  EXPECT_EQ(pool_.restarts(), 5U);
}

TEST_F(PoolTest, AWorkerThatIsNotReadyInTimeIsKilledAndCountsAsDeadBeforeReadiness) {
  reach(kStarting);
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded starting SIGKILL");
  pool_.exited({0, SIGKILL});
  EXPECT_EQ(actions_.take(), "timer 100ms, starting>backoff");
}

TEST_F(PoolTest, AFailedProbeGoesBackToQuarantine) {
  reach(kQuarantined);
  for (int i = 0; i < 3; ++i) {
    fire_timer();
    ASSERT_EQ(pool_.state(), PoolState::kStarting);
    pool_.exited({1, 0});
    ASSERT_EQ(pool_.state(), PoolState::kQuarantined) << "probe " << i;
    EXPECT_EQ(actions_.last_delay_, 60s);
  }
}

TEST_F(PoolTest, AProbeThatCannotBeStartedGoesBackToQuarantine) {
  reach(kQuarantined);
  actions_.start_fails_ = true;
  fire_timer();
  EXPECT_EQ(pool_.state(), PoolState::kQuarantined);
}

TEST_F(PoolTest, AProbeThatBecomesReadyEndsTheQuarantine) {
  reach(kQuarantined);
  fire_timer();
  pool_.ready();
  EXPECT_EQ(pool_.state(), PoolState::kUp);
  actions_.now_ += 1s;
  pool_.exited({0, SIGSEGV});
  EXPECT_EQ(pool_.state(), PoolState::kStarting) << "at once, as any worker that was ready";
  pool_.exited({1, 0});
  EXPECT_EQ(pool_.state(), PoolState::kBackoff) << "no probe any more";
}

TEST_F(PoolTest, ExitCode78OfAReadyWorkerQuarantines) {
  reach(kUp);
  pool_.exited({78, 0});
  EXPECT_EQ(pool_.state(), PoolState::kQuarantined);
}

TEST_F(PoolTest, ASignalWithTheNumber78IsNoConfigurationError) {
  reach(kUp);
  pool_.exited({0, 78});
  EXPECT_EQ(pool_.state(), PoolState::kStarting);
}

TEST_F(PoolTest, TheHealthOfAWorkerCountsFromItsReadiness) {
  reach(kStarting);
  pool_.exited({1, 0});
  EXPECT_EQ(actions_.last_delay_, 100ms);
  fire_timer();
  actions_.now_ += 1h;  // not ready yet
  pool_.ready();
  actions_.now_ += 59s;
  pool_.exited({0, SIGSEGV});
  pool_.exited({1, 0});
  EXPECT_EQ(actions_.last_delay_, 200ms) << "59 s of health forget nothing";
  fire_timer();
  pool_.ready();
  actions_.now_ += 60s;
  pool_.exited({0, SIGSEGV});
  pool_.exited({1, 0});
  EXPECT_EQ(actions_.last_delay_, 100ms) << "60 s of health forget what was before";
}

TEST_F(PoolTest, AStopEscalatesFromTermToKill) {
  reach(kUp);
  pool_.want_down(StopMode::kStop);
  EXPECT_EQ(actions_.take(), "SIGTERM, timer 5000ms, up>draining");
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded draining SIGKILL, timer 5000ms");
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded draining SIGKILL, timer 5000ms") << "again";
  pool_.exited({0, SIGKILL});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, ADrainEscalatesFromQuitOverTermToKill) {
  reach(kUp);
  pool_.want_down(StopMode::kDrain);
  EXPECT_EQ(actions_.take(), "SIGQUIT, timer 30000ms, up>draining");
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGTERM, exceeded draining SIGTERM, timer 5000ms");
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded draining SIGKILL, timer 5000ms");
}

TEST_F(PoolTest, AStopDuringADrainShortensIt) {
  reach(kUp);
  pool_.want_down(StopMode::kDrain);
  actions_.take();
  pool_.want_down(StopMode::kStop);
  EXPECT_EQ(actions_.take(), "SIGTERM, timer 5000ms, draining>draining");
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded draining SIGKILL, timer 5000ms");
}

TEST_F(PoolTest, AStopAfterADrainRanOutChangesNothing) {
  reach(kUp);
  pool_.want_down(StopMode::kDrain);
  fire_timer();
  actions_.take();
  pool_.want_down(StopMode::kStop);
  EXPECT_EQ(actions_.take(), "");
}

TEST_F(PoolTest, ADrainAfterAStopChangesNothing) {
  reach(kUp);
  pool_.want_down(StopMode::kStop);
  actions_.take();
  pool_.want_down(StopMode::kDrain);
  EXPECT_EQ(actions_.take(), "");
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded draining SIGKILL, timer 5000ms");
}

TEST_F(PoolTest, ADrainTimeoutOfZeroMeansAtOnceAndNotNever) {
  Pool pool(RestartConfig{}, {0ms, 0ms}, actions_);
  pool.want_up();
  pool.ready();
  actions_.take();
  pool.want_down(StopMode::kDrain);
  EXPECT_EQ(actions_.take(), "SIGQUIT, timer 1ms, up>draining");
  pool.timer();
  EXPECT_EQ(actions_.take(), "SIGTERM, exceeded draining SIGTERM, timer 1ms");
}

TEST_F(PoolTest, KillEndsAWorkerAtOnceInWhateverStateItIs) {
  for (const PoolState state : {kStarting, kUp}) {
    Pool pool(RestartConfig{}, {5s, 30s}, actions_);
    pool.want_up();
    if (state == kUp) pool.ready();
    actions_.take();
    pool.kill();
    EXPECT_NE(actions_.take().find("SIGKILL"), std::string::npos) << pool_state_name(state);
    pool.exited({0, SIGKILL});
    EXPECT_EQ(pool.state(), PoolState::kDown) << "and leaves the port down";
  }
}

TEST_F(PoolTest, KillEndsADrainingWorker) {
  for (const StopMode mode : {StopMode::kStop, StopMode::kDrain}) {
    Pool pool(RestartConfig{}, {5s, 30s}, actions_);
    pool.want_up();
    pool.ready();
    pool.want_down(mode);
    actions_.take();
    pool.kill();
    EXPECT_NE(actions_.take().find("SIGKILL"), std::string::npos);
    EXPECT_EQ(pool.state(), PoolState::kDraining) << "until it is reaped";
  }
}

TEST_F(PoolTest, KillWithoutAWorkerSendsNothing) {
  pool_.kill();
  EXPECT_EQ(actions_.take(), "");
  reach(kBackoff);
  pool_.kill();
  EXPECT_EQ(actions_.take(), "disarm, backoff>down");
}

TEST_F(PoolTest, WantedUpWhileDrainingStartsAgainAfterTheExit) {
  reach(kDraining);
  pool_.want_up();
  EXPECT_EQ(actions_.take(), "") << "the old one ends first";
  pool_.exited({0, 0});
  EXPECT_EQ(actions_.take(), "timer 10000ms, draining>starting, start");
  EXPECT_EQ(pool_.restarts(), 0U) << "nobody died";
}

TEST_F(PoolTest, WantedDownAgainWhileDrainingStaysDown) {
  reach(kDraining);
  pool_.want_up();
  pool_.want_down(StopMode::kStop);
  pool_.exited({0, 0});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, AWorkerThatEndsAsAskedIsNotJudged) {
  reach(kDraining);
  pool_.exited({78, 0});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
  EXPECT_EQ(pool_.restarts(), 0U);
}

TEST_F(PoolTest, AWorkerThatIsNotReadyYetEndsWhenItIs) {
  reach(kStarting);
  pool_.want_down(StopMode::kStop);
  EXPECT_EQ(actions_.take(), "timer 5000ms") << "it could not end its connections yet";
  pool_.ready();
  EXPECT_EQ(actions_.take(), "timer 30000ms, starting>up, SIGTERM, timer 5000ms, up>draining");
  pool_.exited({0, 0});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, AWorkerThatIsWantedDownAndDoesNotBecomeReadyIsKilledAndNotReplaced) {
  reach(kStarting);
  pool_.want_down(StopMode::kStop);
  fire_timer();
  EXPECT_EQ(actions_.take(), "timer 5000ms, SIGKILL, exceeded starting SIGKILL");
  pool_.exited({0, SIGKILL});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, WantedUpAgainBeforeItWasReadyItStays) {
  reach(kStarting);
  pool_.want_down(StopMode::kStop);
  pool_.want_up();
  pool_.ready();
  EXPECT_EQ(pool_.state(), PoolState::kUp);
}

TEST_F(PoolTest, AReplacementFollowsWhenTheOldWorkerHasLeft) {
  reach(kUp);
  pool_.replace();
  EXPECT_EQ(actions_.take(), "SIGUSR2, timer 5000ms, up>draining");
  pool_.exited({75, 0});
  EXPECT_EQ(actions_.take(), "timer 10000ms, draining>starting, start");
  EXPECT_EQ(pool_.restarts(), 0U) << "nobody died";
}

TEST_F(PoolTest, AWorkerThatDoesNotLeaveForItsReplacementIsKilledAndNotStopped) {
  reach(kUp);
  pool_.replace();
  actions_.take();
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded draining SIGKILL, timer 5000ms")
      << "SIGTERM would end its connections";
  pool_.exited({0, SIGKILL});
  EXPECT_EQ(pool_.state(), PoolState::kStarting);
}

TEST_F(PoolTest, AWorkerThatIsNotReadyYetIsReplacedWhenItIs) {
  reach(kStarting);
  pool_.replace();
  EXPECT_EQ(actions_.take(), "");
  pool_.ready();
  EXPECT_EQ(actions_.take(), "timer 30000ms, starting>up, SIGUSR2, timer 5000ms, up>draining");
}

TEST_F(PoolTest, WithoutAWorkerThereIsNothingToReplace) {
  for (const PoolState state : {kDown, kBackoff, kQuarantined}) {
    Pool pool(RestartConfig{}, {5s, 30s}, actions_);
    if (state != kDown) pool.want_up();
    if (state != kDown) pool.exited({state == kBackoff ? 1 : 78, 0});
    actions_.take();
    pool.replace();
    EXPECT_EQ(actions_.take(), "") << pool_state_name(state);
  }
}

TEST_F(PoolTest, AReplacementThatIsWantedDownStaysDown) {
  reach(kUp);
  pool_.replace();
  pool_.want_down(StopMode::kStop);
  pool_.exited({75, 0});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, AHeartbeatPutsTheWatchdogOff) {
  reach(kUp);
  pool_.heartbeat();
  EXPECT_EQ(actions_.take(), "timer 30000ms");
  pool_.want_down(StopMode::kStop);
  actions_.take();
  pool_.heartbeat();
  EXPECT_EQ(actions_.take(), "") << "the deadline of the end stays";
}

TEST_F(PoolTest, ASilentWorkerIsAbortedThenKilled) {
  reach(kUp);
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGABRT, exceeded up SIGABRT, timer 2000ms");
  pool_.heartbeat();
  EXPECT_EQ(actions_.take(), "") << "too late";
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded up SIGKILL");
  pool_.exited({0, SIGABRT});
  EXPECT_EQ(pool_.state(), PoolState::kStarting);
  pool_.ready();
  actions_.take();
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGABRT, exceeded up SIGABRT, timer 2000ms") << "a new worker";
}

TEST_F(PoolTest, ASlowDiskIsWaitedForTenIntervals) {
  reach(kUp);
  actions_.writing_ = true;
  for (int i = 0; i < 10; ++i) {
    fire_timer();
    ASSERT_EQ(actions_.take(), "timer 30000ms") << "interval " << i;
  }
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGABRT, exceeded up SIGABRT, timer 2000ms");
}

TEST_F(PoolTest, AHeartbeatGivesTheSlowDiskItsPatienceBack) {
  reach(kUp);
  actions_.writing_ = true;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) fire_timer();
    pool_.heartbeat();
  }
  EXPECT_EQ(actions_.take().find("SIG"), std::string::npos);
}

TEST_F(PoolTest, WithoutAWatchdogNobodyIsAborted) {
  RestartConfig config;
  config.watchdog = 0ms;
  Pool pool(config, {5s, 30s}, actions_);
  pool.want_up();
  actions_.take();
  pool.ready();
  EXPECT_EQ(actions_.take(), "disarm, starting>up");
  pool.heartbeat();
  EXPECT_EQ(actions_.take(), "");
}

TEST_F(PoolTest, WhatADeadWorkerLeftParkedIsFinishedByAnother) {
  reach(kDraining);
  actions_.parked_ = true;
  pool_.exited({0, SIGSEGV});
  EXPECT_EQ(actions_.take(), "timer 10000ms, draining>starting, start");
  pool_.ready();
  EXPECT_EQ(actions_.take(), "timer 30000ms, starting>up, SIGTERM, timer 5000ms, up>draining");
  actions_.parked_ = false;
  pool_.exited({0, 0});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, FinishingIsTriedFiveTimes) {
  reach(kDraining);
  actions_.parked_ = true;
  for (int i = 0; i < 5; ++i) {
    pool_.exited({0, SIGSEGV});
    ASSERT_EQ(pool_.state(), PoolState::kStarting) << "attempt " << i;
  }
  pool_.exited({0, SIGSEGV});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, AWorkerThatUsedUpTheStopTimeoutIsNotFollowedByAnother) {
  reach(PoolState::kDraining);
  actions_.parked_ = true;
  fire_timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded draining SIGKILL, timer 5000ms");
  send(PoolEvent::kExited);
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, OneThatIsWantedAgainMeanwhileIsFollowedAndLaterFinished) {
  reach(PoolState::kDraining);
  actions_.parked_ = true;
  fire_timer();
  pool_.want_up();
  send(PoolEvent::kExited);
  pool_.ready();
  pool_.want_down(StopMode::kStop);
  send(PoolEvent::kExited);
  EXPECT_EQ(pool_.state(), PoolState::kStarting);
}

TEST_F(PoolTest, FinishingEndsEvenIfNoWorkerCanBeStarted) {
  reach(kDraining);
  actions_.parked_ = true;
  actions_.start_fails_ = true;
  pool_.exited({0, SIGSEGV});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, APortInBackoffFinishesWhatIsParkedBeforeItGoesDown) {
  reach(kBackoff);
  actions_.parked_ = true;
  pool_.want_down(StopMode::kStop);
  EXPECT_EQ(actions_.take(), "timer 10000ms, backoff>starting, start");
}

TEST_F(PoolTest, KillLeavesWhatIsParked) {
  reach(kUp);
  actions_.parked_ = true;
  pool_.kill();
  pool_.exited({0, SIGKILL});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

TEST_F(PoolTest, NewSettingsHoldFromThenOn) {
  RestartConfig config;
  config.start_timeout = 7s;
  pool_.configure(config, {1s, 2s});
  pool_.want_up();
  EXPECT_EQ(actions_.take(), "timer 7000ms, down>starting, start");
  pool_.ready();
  actions_.take();
  pool_.want_down(StopMode::kDrain);
  EXPECT_EQ(actions_.take(), "SIGQUIT, timer 2000ms, up>draining");
}

TEST_F(PoolTest, AWorkerThatRunsAlreadyIsAdopted) {
  pool_.adopt(true);
  EXPECT_EQ(actions_.take(), "timer 10000ms, down>starting, timer 30000ms, starting>up");
  pool_.exited({0, SIGSEGV});
  EXPECT_EQ(pool_.state(), PoolState::kStarting) << "and replaced when it dies";
}

TEST_F(PoolTest, AnAdoptedWorkerThatIsNotReadyHasTheTimeOfANewOne) {
  pool_.adopt(false);
  EXPECT_EQ(actions_.take(), "timer 10000ms, down>starting");
  pool_.ready();
  EXPECT_EQ(pool_.state(), PoolState::kUp);
}

TEST_F(PoolTest, AWorkerOfTheDaemonBeforeIsFollowedWhenItHasLeft) {
  pool_.adopt_leaving();
  EXPECT_EQ(actions_.take(), "down>draining");
  pool_.exited({});
  EXPECT_EQ(actions_.take(), "timer 10000ms, draining>starting, start");
}

TEST_F(PoolTest, ParkingAsksTheWorkerToLeaveAndStartsNoOther) {
  reach(kUp);
  actions_.parked_ = true;
  pool_.want_down(StopMode::kPark);
  EXPECT_EQ(actions_.take(), "SIGUSR2, timer 5000ms, up>draining");
  pool_.exited({});
  EXPECT_EQ(actions_.take(), "disarm, draining>down");
}

TEST_F(PoolTest, ParkingDuringADrainEndsTheDrain) {
  reach(kUp);
  pool_.want_down(StopMode::kDrain);
  actions_.take();
  pool_.want_down(StopMode::kPark);
  EXPECT_EQ(actions_.take(), "SIGUSR2, timer 5000ms, draining>draining");
}

TEST_F(PoolTest, AWorkerThatDoesNotLeaveForParkingIsKilledAndItsKeeperParks) {
  reach(kUp);
  pool_.want_down(StopMode::kPark);
  actions_.take();
  pool_.timer();
  EXPECT_EQ(actions_.take(), "SIGKILL, exceeded draining SIGKILL, timer 5000ms");
  actions_.parked_ = true;
  pool_.exited({0, SIGKILL});
  EXPECT_EQ(actions_.take(), "disarm, draining>down");
}

TEST_F(PoolTest, KillingWhatParksStillLeavesIt) {
  reach(kUp);
  pool_.want_down(StopMode::kPark);
  actions_.take();
  pool_.kill();
  EXPECT_EQ(actions_.take(), "SIGKILL");
  actions_.parked_ = true;
  pool_.exited({0, SIGKILL});
  EXPECT_EQ(actions_.take(), "disarm, draining>down");
}

TEST_F(PoolTest, CountsEachDeathThatWasNotAskedFor) {
  reach(kUp);
  EXPECT_EQ(pool_.restarts(), 0U);
  for (unsigned i = 1; i <= 3; ++i) {
    pool_.exited({0, SIGSEGV});
    pool_.ready();
    EXPECT_EQ(pool_.restarts(), i);
  }
}

TEST_F(PoolTest, TwentyRestartsAtOnceThenBackoff) {
  reach(kUp);
  for (int i = 0; i < 20; ++i) {
    pool_.exited({0, SIGSEGV});
    ASSERT_EQ(pool_.state(), PoolState::kStarting) << "death " << i;
    pool_.ready();
  }
  pool_.exited({0, SIGSEGV});
  EXPECT_EQ(pool_.state(), PoolState::kBackoff);
  EXPECT_EQ(actions_.last_delay_, 50ms);
}

TEST_F(PoolTest, AStartingWorkerThatIsNotWantedAndDiesLeavesThePortDown) {
  reach(kStarting);
  pool_.want_down(StopMode::kStop);
  pool_.exited({0, SIGSEGV});
  EXPECT_EQ(pool_.state(), PoolState::kDown);
}

}  // namespace
}  // namespace serverd
