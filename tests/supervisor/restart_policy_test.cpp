#include "supervisor/restart_policy.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ostream>
#include <vector>

namespace serverd {

/// For failures.
void PrintTo(const RestartVerdict& verdict, std::ostream* out) {
  constexpr const char* kNames[] = {"start", "wait", "quarantine"};
  *out << kNames[static_cast<int>(verdict.action)] << " "
       << std::chrono::duration<double>(verdict.delay).count() << " s";
}

namespace {

using namespace std::chrono_literals;
using Action = RestartVerdict::Action;

/// A port's life on a clock of its own. What the policy orders is obeyed to the nanosecond.
class Life final {
 public:
  explicit Life(RestartConfig config = {}) : config_(config) {}

  void pass(Clock::duration time) { now_ += time; }
  RestartVerdict died_after_ready(Clock::duration healthy_for = 0s) {
    return judge({.at = now_, .was_ready = true, .healthy_for = healthy_for});
  }
  RestartVerdict died_before_ready(double jitter = 0) { return judge({.at = now_}, jitter); }
  RestartVerdict judge(Death death, double jitter = 0) {
    death.at = now_;
    deaths_.push_back(death);
    if (deaths_.size() > deaths_to_remember(config_)) deaths_.erase(deaths_.begin());
    return decide_restart(config_, deaths_, jitter);
  }
  Clock::time_point now() const { return now_; }

 private:
  RestartConfig config_;
  Clock::time_point now_{1h};
  std::vector<Death> deaths_;
};

RestartVerdict start() { return {Action::kStart, 0s}; }
RestartVerdict wait(Clock::duration delay) { return {Action::kWait, delay}; }
RestartVerdict quarantine(Clock::duration delay = 60s) { return {Action::kQuarantine, delay}; }

TEST(RestartAfterReadiness, TwentyAtOnceThenSpaced) {
  Life life;
  for (int i = 0; i < 20; ++i) ASSERT_EQ(life.died_after_ready(), start()) << "death " << i;
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(life.died_after_ready(), wait(50ms)) << "death " << 20 + i;
    life.pass(50ms);
  }
}

TEST(RestartAfterReadiness, TokensComeBackWithTime) {
  Life life;
  for (int i = 0; i < 20; ++i) life.died_after_ready();
  life.pass(250ms);  // five tokens
  for (int i = 0; i < 5; ++i) ASSERT_EQ(life.died_after_ready(), start()) << "death " << i;
  EXPECT_EQ(life.died_after_ready(), wait(50ms));
}

TEST(RestartAfterReadiness, TheBucketNeverHoldsMoreThanItsSize) {
  Life life;
  for (int i = 0; i < 20; ++i) life.died_after_ready();
  life.pass(1h);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(life.died_after_ready(), start()) << "death " << i;
  EXPECT_EQ(life.died_after_ready().action, Action::kWait);
}

TEST(RestartAfterReadiness, TheRateHoldsHoweverLongItGoesOn) {
  Life life;
  const Clock::time_point begin = life.now();
  constexpr int kDeaths = 1000;
  for (int i = 0; i < kDeaths; ++i) {
    const RestartVerdict verdict = life.died_after_ready();
    ASSERT_NE(verdict.action, Action::kQuarantine);
    life.pass(verdict.delay);
  }
  const std::chrono::duration<double> lasted = life.now() - begin;
  EXPECT_GE(lasted.count(), (kDeaths - 20) / 20.0 - 0.001);
  EXPECT_LE(lasted.count(), kDeaths / 20.0);
}

TEST(RestartAfterReadiness, OneDeathAMinuteIsAlwaysFollowedAtOnce) {
  Life life;
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(life.died_after_ready(1s), start()) << "death " << i;
    life.pass(1min);
  }
}

TEST(RestartAfterReadiness, TheRateIsASetting) {
  RestartConfig config;
  config.rate = 2;
  Life life(config);
  EXPECT_EQ(life.died_after_ready(), start());
  EXPECT_EQ(life.died_after_ready(), start());
  EXPECT_EQ(life.died_after_ready(), wait(500ms));
}

TEST(RestartAfterReadiness, NeverEndsInQuarantine) {
  RestartConfig config;
  config.quarantine_after = 1;
  Life life(config);
  for (int i = 0; i < 200; ++i)
    ASSERT_NE(life.died_after_ready().action, Action::kQuarantine) << "death " << i;
}

TEST(RestartBeforeReadiness, WaitsTwiceAsLongEachTimeUpToTheMaximum) {
  RestartConfig config;
  config.quarantine_after = 1000;
  Life life(config);
  for (const auto expected :
       {100ms, 200ms, 400ms, 800ms, 1600ms, 3200ms, 6400ms, 12800ms, 25600ms, 30000ms, 30000ms})
    EXPECT_EQ(life.died_before_ready(), wait(expected));
}

TEST(RestartBeforeReadiness, ManyFailuresDoNotOverflow) {
  RestartConfig config;
  config.quarantine_after = 1000;
  Life life(config);
  for (int i = 0; i < 999; ++i) life.died_before_ready();
  EXPECT_EQ(life.died_before_ready().action, Action::kQuarantine);
  config.quarantine_window = 1s;
  Life slow(config);
  for (int i = 0; i < 2000; ++i) {
    slow.died_before_ready();
    slow.pass(10s);
  }
  EXPECT_EQ(slow.died_before_ready(), wait(30s));
}

TEST(RestartBeforeReadiness, JitterSpreadsByAFifth) {
  EXPECT_EQ(Life().died_before_ready(-1), wait(80ms));
  EXPECT_EQ(Life().died_before_ready(-0.5), wait(90ms));
  EXPECT_EQ(Life().died_before_ready(1), wait(120ms));
  EXPECT_EQ(Life().died_before_ready(1000), wait(120ms)) << "out of range is cut";
  EXPECT_EQ(Life().died_before_ready(-1000), wait(80ms)) << "out of range is cut";
}

TEST(RestartBeforeReadiness, IsForgottenAfterAHealthyWorker) {
  Life life;
  for (int i = 0; i < 3; ++i) life.died_before_ready();
  life.died_after_ready(60s);
  EXPECT_EQ(life.died_before_ready(), wait(100ms));
}

TEST(RestartBeforeReadiness, IsNotForgottenAfterAShortLife) {
  Life life;
  for (int i = 0; i < 3; ++i) life.died_before_ready();
  life.died_after_ready(60s - 1ms);
  EXPECT_EQ(life.died_before_ready(), wait(800ms));
}

TEST(Quarantine, FollowsFiveDeathsWithinTheWindow) {
  Life life;
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(life.died_before_ready().action, Action::kWait) << "death " << i;
    life.pass(15s);  // the fifth comes 60 s after the first: just inside
  }
  EXPECT_EQ(life.died_before_ready(), quarantine());
}

TEST(Quarantine, DoesNotFollowDeathsSpreadWider) {
  Life life;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(life.died_before_ready().action, Action::kWait) << "death " << i;
    life.pass(15s + 1ms);
  }
}

TEST(Quarantine, DoesNotCountDeathsAfterReadiness) {
  Life life;
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(life.died_before_ready().action, Action::kWait);
    ASSERT_EQ(life.died_after_ready(), start());
  }
  EXPECT_EQ(life.died_before_ready(), quarantine());
}

TEST(Quarantine, FollowsAConfigurationErrorAtOnce) {
  EXPECT_EQ(Life().judge({.at = {}, .config_error = true}), quarantine());
  EXPECT_EQ(Life().judge({.at = {}, .was_ready = true, .config_error = true}), quarantine())
      << "even after readiness";
}

TEST(Quarantine, IsKeptByAFailedProbe) {
  Life life;
  EXPECT_EQ(life.judge({.at = {}, .was_probe = true}), quarantine());
  life.pass(60s);
  EXPECT_EQ(life.judge({.at = {}, .was_probe = true}), quarantine());
}

TEST(Quarantine, EndsWithAProbeThatBecomesReady) {
  Life life;
  for (int i = 0; i < 5; ++i) life.died_before_ready();
  life.pass(60s);
  EXPECT_EQ(life.judge({.at = {}, .was_ready = true, .was_probe = true}), start());
}

TEST(Quarantine, IsProbedAtTheIntervalOfTheSettings) {
  RestartConfig config;
  config.probe_interval = 7s;
  EXPECT_EQ(Life(config).judge({.at = {}, .config_error = true}), quarantine(7s));
}

TEST(RestartPolicy, RemembersAsManyDeathsAsItJudges) {
  RestartConfig config;
  config.quarantine_after = 900;
  EXPECT_GE(deaths_to_remember(config), 900U);
  config.rate = 1000;
  EXPECT_GE(deaths_to_remember(config), 1000U);
}

}  // namespace
}  // namespace serverd
