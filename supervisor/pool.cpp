#include "supervisor/pool.h"

#include "common/exit_code.h"

#include <algorithm>
#include <csignal>
#include <utility>

namespace serverd {
namespace {

/// How many watchdog intervals a worker may hang in a write.
constexpr unsigned kSlowDiskIntervals = 10;
/// How often a worker is started to end what one that died while ending left behind.
constexpr unsigned kFinishAttempts = 5;
/// For writing a core.
constexpr auto kCorePatience = std::chrono::seconds(2);

}  // namespace

const char* pool_state_name(PoolState state) noexcept {
  constexpr const char* kNames[] = {"down", "starting", "up", "draining", "backoff", "quarantined"};
  return state < PoolState::kCount ? kNames[static_cast<int>(state)] : "?";
}

// clang-format off
const Pool::Action Pool::kTable[static_cast<int>(PoolState::kCount)]
                               [static_cast<int>(PoolEvent::kCount)] = {
    //               want_up               ready             exited              timer                    want_down
    /* down */      {&Pool::start,         &Pool::ignore,    &Pool::ignore,      &Pool::ignore,           &Pool::ignore},
    /* starting */  {&Pool::want_up_again, &Pool::become_up, &Pool::judge_death, &Pool::start_timed_out,  &Pool::end_when_ready},
    /* up */        {&Pool::ignore,        &Pool::ignore,    &Pool::judge_death, &Pool::watchdog_expired, &Pool::begin_end},
    /* draining */  {&Pool::want_up_again, &Pool::ignore,    &Pool::ended,       &Pool::escalate_end,     &Pool::change_end},
    /* backoff */   {&Pool::start,         &Pool::ignore,    &Pool::ignore,      &Pool::start,            &Pool::go_down},
    /* quarant. */  {&Pool::start,         &Pool::ignore,    &Pool::ignore,      &Pool::probe,            &Pool::go_down},
};
// clang-format on

void Pool::handle(PoolEvent event) {
  (this->*kTable[static_cast<int>(state_)][static_cast<int>(event)])();
}

void Pool::enter(PoolState state, Clock::duration delay) {
  const PoolState from = std::exchange(state_, state);
  if (delay > Clock::duration::zero())
    actions_.arm_timer(delay);
  else
    actions_.disarm_timer();
  actions_.on_state_changed(from, state, delay);
}

void Pool::want_down(StopMode mode) {
  wanted_ = false;
  stop_mode_ = mode;
  handle(PoolEvent::kWantDown);
}

void Pool::replace() {
  if (state_ == PoolState::kUp)
    begin_end(StopMode::kReplace);
  else
    replace_due_ = state_ == PoolState::kStarting;
}

void Pool::configure(const RestartConfig& config, Timeouts timeouts) {
  config_ = config;
  timeouts_ = timeouts;
}

void Pool::adopt(bool is_ready) {
  wanted_ = true;
  enter(PoolState::kStarting, config_.start_timeout);
  if (is_ready) ready();
}

void Pool::adopt_leaving() {
  wanted_ = true;
  enter(PoolState::kDraining);
}

void Pool::kill() {
  want_down(stop_mode_ == StopMode::kPark ? StopMode::kPark : StopMode::kStop);
  finishing_ = kFinishAttempts;  // too late for what is parked
  if (state_ == PoolState::kDraining || state_ == PoolState::kStarting)
    actions_.signal_worker(SIGKILL);
}

void Pool::exited(WorkerExit exit) {
  exit_ = exit;
  handle(PoolEvent::kExited);
}

void Pool::start() {
  wanted_ = true;
  probing_ = false;
  finishing_ = 0;
  start_worker();
}

void Pool::probe() {
  probing_ = true;
  start_worker();
}

void Pool::start_worker() {
  enter(PoolState::kStarting, config_.start_timeout);
  if (!actions_.start_worker()) judge({.at = actions_.now(), .was_probe = probing_});
}

void Pool::become_up() {
  ready_since_ = actions_.now();
  patience_used_ = 0;
  last_signal_ = 0;
  enter(PoolState::kUp, config_.watchdog);
  if (!wanted_)
    begin_end();
  else if (std::exchange(replace_due_, false))
    begin_end(StopMode::kReplace);
}

void Pool::heartbeat() {
  if (state_ != PoolState::kUp || last_signal_ != 0) return;
  patience_used_ = 0;
  if (config_.watchdog > Milliseconds(0)) actions_.arm_timer(config_.watchdog);
}

/// SIGABRT first, for the core; its exit follows and is judged as any other.
void Pool::watchdog_expired() {
  if (last_signal_ == 0 && actions_.is_writing() && patience_used_ < kSlowDiskIntervals) {
    ++patience_used_;
    return actions_.arm_timer(config_.watchdog);
  }
  last_signal_ = last_signal_ == 0 ? SIGABRT : SIGKILL;
  actions_.signal_worker(last_signal_);
  actions_.on_deadline_exceeded(state_, last_signal_);
  if (last_signal_ == SIGABRT) actions_.arm_timer(kCorePatience);
}

/// A worker that is not ready yet cannot end its connections; it is given stop_timeout to get
/// there.
void Pool::end_when_ready() {
  actions_.arm_timer(std::max<Clock::duration>(timeouts_.stop, Milliseconds(1)));
}

void Pool::judge_death() {
  Death death{.at = actions_.now(),
              .was_ready = state_ == PoolState::kUp,
              .config_error = exit_.signal == 0 && exit_.code == kExitConfig,
              .was_probe = probing_};
  if (death.was_ready) death.healthy_for = death.at - ready_since_;
  judge(death);
}

void Pool::judge(Death death) {
  deaths_.push_back(death);
  if (deaths_.size() > deaths_to_remember(config_)) deaths_.erase(deaths_.begin());
  if (!wanted_) return go_down();
  const RestartVerdict verdict = decide_restart(config_, deaths_, actions_.jitter());
  ++restarts_;
  switch (verdict.action) {
    case RestartVerdict::Action::kStart:
      return start();
    case RestartVerdict::Action::kWait:
      return enter(PoolState::kBackoff, verdict.delay);
    case RestartVerdict::Action::kQuarantine:
      return enter(PoolState::kQuarantined, verdict.delay);
  }
}

/// Its exit follows and is judged as a death before readiness.
void Pool::start_timed_out() {
  actions_.signal_worker(SIGKILL);
  actions_.on_deadline_exceeded(state_, SIGKILL);
}

void Pool::begin_end() { begin_end(stop_mode_); }

void Pool::begin_end(StopMode mode) {
  last_signal_ = mode == StopMode::kDrain ? SIGQUIT : mode == StopMode::kStop ? SIGTERM : SIGUSR2;
  actions_.signal_worker(last_signal_);
  const Milliseconds patience = mode == StopMode::kDrain ? timeouts_.drain : timeouts_.stop;
  // A timeout of zero means "at once", not "never".
  enter(PoolState::kDraining, std::max<Clock::duration>(patience, Milliseconds(1)));
}

/// A worker that is to be replaced must not end its connections.
int Pool::next_signal() const noexcept { return last_signal_ == SIGQUIT ? SIGTERM : SIGKILL; }

/// Whoever could not store in stop_timeout what was received leaves no more time to another.
void Pool::escalate_end() {
  if (last_signal_ == SIGTERM) finishing_ = kFinishAttempts;
  last_signal_ = next_signal();
  actions_.signal_worker(last_signal_);
  actions_.on_deadline_exceeded(state_, last_signal_);
  actions_.arm_timer(std::max<Clock::duration>(timeouts_.stop, Milliseconds(1)));
}

/// A stop that follows a drain shortens it, as parking does; a drain that follows a stop changes
/// nothing. A worker that is being replaced leaves first; its successor ends the connections.
void Pool::change_end() {
  if (last_signal_ == SIGQUIT && stop_mode_ != StopMode::kDrain) begin_end();
}

void Pool::ended() {
  if (wanted_) return start();
  go_down();
}

/// What a dead worker had received must still be stored, so another is started for it, unless that
/// is left to the next daemon.
void Pool::go_down() {
  probing_ = false;
  if (stop_mode_ != StopMode::kPark && actions_.has_parked() && finishing_++ < kFinishAttempts)
    return start_worker();
  finishing_ = 0;
  enter(PoolState::kDown);
}

}  // namespace serverd
