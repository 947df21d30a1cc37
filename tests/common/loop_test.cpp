#include "common/loop/loop.h"

#include "common/os/error.h"
#include "common/os/unique_fd.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace serverd {
namespace {

using namespace std::chrono_literals;

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;

  Pipe() {
    int ends[2];
    check_call(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe2");
    reader = UniqueFd::adopt(ends[0]);
    writer = UniqueFd::adopt(ends[1]);
  }
  void fill() const { EXPECT_EQ(::write(writer.get(), "x", 1), 1); }
};

// Watches, on both levels of the loop

class LoopWatch : public testing::TestWithParam<std::size_t> {
 protected:
  LoopWatch() {
    for (std::size_t i = 0; i < GetParam(); ++i)
      others_.push_back(std::make_unique<Watch>(loop, other_.reader.get(), POLLIN, [](short) {}));
  }

  Loop loop;

 private:
  Pipe other_;
  std::vector<std::unique_ptr<Watch>> others_;
};

INSTANTIATE_TEST_SUITE_P(Polled, LoopWatch, testing::Values(0));
INSTANTIATE_TEST_SUITE_P(InEpoll, LoopWatch, testing::Values(Loop::kPolledDirectly));

TEST_P(LoopWatch, CallsAWatchWhileItsDescriptorIsReady) {
  const Pipe pipe;
  std::vector<short> seen;
  const Watch watch(loop, pipe.reader.get(), POLLIN, [&](short events) { seen.push_back(events); });
  loop.run_once(0s);
  EXPECT_EQ(seen, std::vector<short>{});
  pipe.fill();
  loop.run_once();
  loop.run_once();
  EXPECT_EQ(seen, (std::vector<short>{POLLIN, POLLIN}));
}

TEST_P(LoopWatch, ReportsAHangUpUnasked) {
  Pipe pipe;
  pipe.writer.reset();
  short seen = 0;
  const Watch watch(loop, pipe.reader.get(), POLLIN, [&](short events) { seen = events; });
  loop.run_once();
  EXPECT_EQ(seen, POLLHUP);
}

TEST_P(LoopWatch, WantingNothingSilencesAHangUp) {
  Pipe pipe;
  pipe.writer.reset();
  int calls = 0;
  Watch watch(loop, pipe.reader.get(), 0, [&](short) { ++calls; });
  loop.run_once(0s);
  EXPECT_EQ(calls, 0);
  watch.want(POLLIN);
  loop.run_once();
  EXPECT_EQ(calls, 1);
  watch.want(0);
  loop.run_once(0s);
  EXPECT_EQ(calls, 1);
}

TEST_P(LoopWatch, WantChangesWhatIsWaitedFor) {
  const Pipe pipe;
  std::vector<short> seen;
  Watch watch(loop, pipe.writer.get(), POLLIN, [&](short events) { seen.push_back(events); });
  loop.run_once(0s);
  EXPECT_EQ(seen, std::vector<short>{});
  watch.want(POLLOUT);
  loop.run_once();
  EXPECT_EQ(seen, std::vector<short>{POLLOUT});
}

TEST_P(LoopWatch, AWatchThatIsPausedDuringDispatchIsNotCalledInThatTurn) {
  const Pipe first;
  const Pipe second;
  first.fill();
  second.fill();
  std::vector<std::string> calls;
  std::optional<Watch> pauser;
  std::optional<Watch> paused;
  pauser.emplace(loop, first.reader.get(), POLLIN, [&](short) {
    calls.emplace_back("pauser");
    paused->want(0);
  });
  paused.emplace(loop, second.reader.get(), POLLIN, [&](short) { calls.emplace_back("paused"); });
  loop.run_once();
  EXPECT_EQ(calls, std::vector<std::string>{"pauser"});
}

TEST_P(LoopWatch, AWatchThatIsRemovedDuringDispatchIsNotCalled) {
  const Pipe first;
  const Pipe second;
  const Pipe third;
  for (const Pipe* pipe : {&first, &second, &third}) pipe->fill();
  std::vector<int> calls;
  auto victim = std::make_unique<Watch>(loop, first.reader.get(), 0, [&](short) {});
  const Watch remover(loop, second.reader.get(), POLLIN, [&](short) {
    calls.push_back(2);
    victim.reset();
  });
  victim =
      std::make_unique<Watch>(loop, first.reader.get(), POLLIN, [&](short) { calls.push_back(1); });
  const Watch last(loop, third.reader.get(), POLLIN, [&](short) { calls.push_back(3); });
  loop.run_once();
  EXPECT_EQ(calls, (std::vector<int>{2, 3}));
  loop.run_once();
  EXPECT_EQ(calls, (std::vector<int>{2, 3, 2, 3})) << "the others keep their places";
}

TEST_P(LoopWatch, AWatchThatIsAddedDuringDispatchIsCalledFromTheNextTurnOn) {
  const Pipe pipe;
  pipe.fill();
  std::vector<std::unique_ptr<Watch>> added;
  int calls = 0;
  const Watch adder(loop, pipe.reader.get(), POLLIN, [&](short) {
    // Many, so that the loop's own storage moves.
    while (added.size() < 100)
      added.push_back(
          std::make_unique<Watch>(loop, pipe.reader.get(), POLLIN, [&](short) { ++calls; }));
  });
  loop.run_once();
  EXPECT_EQ(calls, 0);
  loop.run_once();
  EXPECT_EQ(calls, 100);
}

TEST_P(LoopWatch, AWatchMayReplaceAnotherOnTheSameDescriptor) {
  const Pipe pipe;
  pipe.fill();
  int old_calls = 0;
  int new_calls = 0;
  auto watch =
      std::make_unique<Watch>(loop, pipe.reader.get(), POLLIN, [&](short) { ++old_calls; });
  watch.reset();
  watch = std::make_unique<Watch>(loop, pipe.reader.get(), POLLIN, [&](short) { ++new_calls; });
  loop.run_once();
  EXPECT_EQ(old_calls, 0);
  EXPECT_EQ(new_calls, 1);
}

TEST_P(LoopWatch, APausedWatchThatIsWantedAgainIsCalledAgain) {
  const Pipe pipe;
  pipe.fill();
  int calls = 0;
  Watch watch(loop, pipe.reader.get(), POLLIN, [&](short) { ++calls; });
  for (int round = 1; round <= 3; ++round) {
    watch.want(POLLIN);
    watch.want(POLLIN);
    loop.run_once();
    EXPECT_EQ(calls, round);
    watch.want(0);
    watch.want(0);
    loop.run_once(0s);
    EXPECT_EQ(calls, round);
  }
}

TEST_P(LoopWatch, ARemovedWatchIsForgottenWhileADuplicateOfItsDescriptorLives) {
  Pipe pipe;
  const UniqueFd duplicate = UniqueFd::adopt(::dup(pipe.reader.get()));
  pipe.fill();
  int calls = 0;
  auto watch = std::make_unique<Watch>(loop, pipe.reader.get(), POLLIN, [&](short) { ++calls; });
  watch.reset();
  pipe.reader.reset();
  loop.run_once(0s);
  EXPECT_EQ(calls, 0);
}

TEST_P(LoopWatch, ADescriptorThatEpollRefusesIsWatchedAllTheSame) {
  const UniqueFd file =
      UniqueFd::adopt(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));  // EPERM: always ready
  int calls = 0;
  Watch watch(loop, file.get(), POLLIN, [&](short) { ++calls; });
  loop.run_once();
  EXPECT_EQ(calls, 1);
  watch.want(0);
  loop.run_once(0s);
  EXPECT_EQ(calls, 1);
  watch.want(POLLIN);
  loop.run_once();
  EXPECT_EQ(calls, 2);
}

TEST(Loop, AWatchThatEpollTakesNoLongerMovesToThePollSet) {
  Loop loop;
  const Pipe idle;
  std::vector<std::unique_ptr<Watch>> others;
  for (std::size_t i = 0; i < Loop::kPolledDirectly; ++i)
    others.push_back(std::make_unique<Watch>(loop, idle.reader.get(), POLLIN, [](short) {}));
  const Pipe pipe;
  pipe.fill();
  int first_calls = 0;
  int second_calls = 0;
  Watch first(loop, pipe.reader.get(), 0, [&](short) { ++first_calls; });
  const Watch second(loop, pipe.reader.get(), POLLIN, [&](short) { ++second_calls; });
  first.want(POLLIN);  // EEXIST: the descriptor is in the set for `second`
  loop.run_once();
  EXPECT_EQ(first_calls, 1);
  EXPECT_EQ(second_calls, 1);
}

TEST(Loop, ThousandsOfWatchesAreAllServed) {
  Loop loop;
  constexpr int kMany = 1'000;
  std::vector<Pipe> pipes(kMany);
  std::vector<int> calls(kMany, 0);
  std::vector<std::unique_ptr<Watch>> watches;
  for (std::size_t i = 0; i < kMany; ++i)
    watches.push_back(std::make_unique<Watch>(loop, pipes[i].reader.get(), POLLIN, [&, i](short) {
      ++calls[i];
      watches[i].reset();
    }));
  for (const Pipe& pipe : pipes) pipe.fill();
  for (int turn = 0; turn < 10; ++turn) loop.run_once(0s);
  EXPECT_EQ(calls, std::vector<int>(kMany, 1));
}

// Timers

TEST(Loop, CallsTimersInTheOrderOfTheirDeadlines) {
  Loop loop;
  std::string calls;
  Timer late(loop, [&] { calls += 'c'; });
  Timer early(loop, [&] { calls += 'a'; });
  Timer middle(loop, [&] { calls += 'b'; });
  late.arm(loop.now() - 1ms);
  early.arm(loop.now() - 3ms);
  middle.arm(loop.now() - 2ms);
  loop.run_once();
  EXPECT_EQ(calls, "abc");
}

TEST(Loop, CallsATimerOnceAndNotBeforeItsDeadline) {
  Loop loop;
  int calls = 0;
  Timer timer(loop, [&] { ++calls; });
  const auto deadline = Clock::now() + 20ms;
  timer.arm(deadline);
  EXPECT_TRUE(timer.armed());
  while (calls == 0) loop.run_once();
  EXPECT_GE(Clock::now(), deadline);
  EXPECT_FALSE(timer.armed());
  loop.run_once(0s);
  EXPECT_EQ(calls, 1);
}

TEST(Loop, ArmingAgainReplacesTheDeadline) {
  Loop loop;
  int calls = 0;
  Timer timer(loop, [&] { ++calls; });
  timer.arm(loop.now());
  timer.arm_in(1h);
  loop.run_once(0s);
  EXPECT_EQ(calls, 0);
  timer.arm(loop.now());
  loop.run_once();
  loop.run_once(0s);
  EXPECT_EQ(calls, 1);
}

TEST(Loop, ADisarmedOrDestroyedTimerIsNotCalled) {
  Loop loop;
  int calls = 0;
  Timer disarmed(loop, [&] { ++calls; });
  auto destroyed = std::make_unique<Timer>(loop, [&] { ++calls; });
  disarmed.arm(loop.now());
  destroyed->arm(loop.now());
  disarmed.disarm();
  destroyed.reset();
  loop.run_once(0s);
  EXPECT_EQ(calls, 0);
}

TEST(Loop, ATimerMayDisarmAndDestroyOthersThatAreDue) {
  Loop loop;
  std::string calls;
  Timer second(loop, [&] { calls += 'b'; });
  auto third = std::make_unique<Timer>(loop, [&] { calls += 'c'; });
  Timer first(loop, [&] {
    calls += 'a';
    second.disarm();
    third.reset();
  });
  first.arm(loop.now() - 3ms);
  second.arm(loop.now() - 2ms);
  third->arm(loop.now() - 1ms);
  loop.run_once();
  EXPECT_EQ(calls, "a");
}

TEST(Loop, ATimerThatArmsItselfForNowDoesNotHoldTheTurn) {
  Loop loop;
  const Pipe pipe;
  pipe.fill();
  int timer_calls = 0;
  int watch_calls = 0;
  std::optional<Timer> timer;
  timer.emplace(loop, [&] {
    ++timer_calls;
    timer->arm(loop.now());
  });
  timer->arm(loop.now());
  const Watch watch(loop, pipe.reader.get(), POLLIN, [&](short) { ++watch_calls; });
  for (int turn = 1; turn <= 3; ++turn) {
    loop.run_once();
    EXPECT_EQ(timer_calls, turn);
    EXPECT_EQ(watch_calls, turn);
  }
}

TEST(Loop, SeveralTimersMayShareADeadline) {
  Loop loop;
  int calls = 0;
  Timer one(loop, [&] { ++calls; });
  Timer other(loop, [&] { ++calls; });
  const auto deadline = loop.now();
  one.arm(deadline);
  other.arm(deadline);
  loop.run_once();
  EXPECT_EQ(calls, 2);
}

TEST(Loop, DoesNotWaitLongerThanItIsTold) {
  Loop loop;
  Timer timer(loop, [] {});
  timer.arm_in(24h * 365);
  const auto before = Clock::now();
  loop.run_once(10ms);
  EXPECT_GE(Clock::now() - before, 10ms);
}

TEST(Loop, NowStandsStillWithinACallback) {
  Loop loop;
  const auto before = loop.now();
  bool advanced = false;
  Timer timer(loop, [&] {
    const auto now = loop.now();
    while (Clock::now() == now) {
    }
    advanced = now > before && loop.now() == now;
  });
  timer.arm_in(1ms);
  while (timer.armed()) loop.run_once();
  EXPECT_TRUE(advanced);
}

// Deferring and stopping

TEST(Loop, CallsWhatIsDeferredOnceAtTheEndOfTheTurn) {
  Loop loop;
  const Pipe pipe;
  pipe.fill();
  std::string calls;
  const Watch first(loop, pipe.reader.get(), POLLIN, [&](short) {
    calls += 'a';
    loop.defer([&] { calls += 'd'; });
  });
  const Watch second(loop, pipe.reader.get(), POLLIN, [&](short) { calls += 'b'; });
  Timer timer(loop, [&] { calls += 't'; });
  timer.arm(loop.now());
  loop.run_once();
  EXPECT_EQ(calls, "abtd");
}

TEST(Loop, WhatIsDeferredByADeferredActionWaitsForTheNextTurn) {
  Loop loop;
  std::string calls;
  loop.defer([&] {
    calls += 'a';
    loop.defer([&] { calls += 'b'; });
  });
  loop.run_once();
  EXPECT_EQ(calls, "a");
  loop.run_once();  // does not wait although nothing is ready
  EXPECT_EQ(calls, "ab");
}

TEST(Loop, AWatchDestroysItselfByDeferring) {
  Loop loop;
  const Pipe pipe;
  pipe.fill();
  int calls = 0;
  std::unique_ptr<Watch> watch;
  watch = std::make_unique<Watch>(loop, pipe.reader.get(), POLLIN, [&](short) {
    ++calls;
    loop.defer([&] { watch.reset(); });
  });
  loop.run_once();
  loop.run_once(0s);
  EXPECT_EQ(calls, 1);
}

TEST(Loop, RunsUntilItIsStopped) {
  Loop loop;
  int calls = 0;
  std::optional<Timer> timer;
  timer.emplace(loop, [&] {
    if (++calls == 3) return loop.stop();
    timer->arm(loop.now());
  });
  timer->arm(loop.now());
  loop.run();
  EXPECT_EQ(calls, 3);
}

TEST(Loop, AStopBeforeTheRunIsNotForgotten) {
  Loop loop;
  loop.stop();
  loop.run();
  int calls = 0;
  loop.defer([&] {
    ++calls;
    loop.stop();
  });
  loop.run();
  EXPECT_EQ(calls, 1) << "and holds for one run";
}

}  // namespace
}  // namespace serverd
