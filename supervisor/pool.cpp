#include "supervisor/pool.h"

#include "common/exit_code.h"

#include <csignal>

namespace serverd {

const char* pool_state_name(PoolState state) noexcept {
  constexpr const char* kNames[] = {"down", "starting", "up", "draining", "backoff", "quarantined"};
  return state < PoolState::kCount ? kNames[static_cast<int>(state)] : "?";
}

// clang-format off
const Pool::Action Pool::kTable[static_cast<int>(PoolState::kCount)]
                               [static_cast<int>(PoolEvent::kCount)] = {
    //               want_up               ready             exited              timer                   want_down
    /* down */      {&Pool::start,         &Pool::ignore,    &Pool::ignore,      &Pool::ignore,          &Pool::ignore},
    /* starting */  {&Pool::ignore,        &Pool::become_up, &Pool::judge_death, &Pool::start_timed_out, &Pool::begin_end},
    /* up */        {&Pool::ignore,        &Pool::ignore,    &Pool::judge_death, &Pool::ignore,          &Pool::begin_end},
    /* draining */  {&Pool::want_up_again, &Pool::ignore,    &Pool::ended,       &Pool::escalate_end,    &Pool::change_end},
    /* backoff */   {&Pool::start,         &Pool::ignore,    &Pool::ignore,      &Pool::start,           &Pool::go_down},
    /* quarant. */  {&Pool::start,         &Pool::ignore,    &Pool::ignore,      &Pool::probe,           &Pool::go_down},
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

void Pool::kill() {
  want_down(StopMode::kStop);
  if (state_ == PoolState::kDraining) actions_.signal_worker(SIGKILL);
}

void Pool::exited(WorkerExit exit) {
  exit_ = exit;
  handle(PoolEvent::kExited);
}

void Pool::start() {
  wanted_ = true;
  probing_ = false;
  enter(PoolState::kStarting, config_.start_timeout);
  if (!actions_.start_worker()) judge({.at = actions_.now()});
}

void Pool::probe() {
  probing_ = true;
  enter(PoolState::kStarting, config_.start_timeout);
  if (!actions_.start_worker()) judge({.at = actions_.now(), .was_probe = true});
}

void Pool::become_up() {
  ready_since_ = actions_.now();
  enter(PoolState::kUp);
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

void Pool::begin_end() {
  last_signal_ = stop_mode_ == StopMode::kDrain ? SIGQUIT : SIGTERM;
  actions_.signal_worker(last_signal_);
  const Milliseconds patience = stop_mode_ == StopMode::kDrain ? timeouts_.drain : timeouts_.stop;
  // A timeout of zero means "at once", not "never".
  enter(PoolState::kDraining, std::max<Clock::duration>(patience, Milliseconds(1)));
}

void Pool::escalate_end() {
  last_signal_ = last_signal_ == SIGQUIT ? SIGTERM : SIGKILL;
  actions_.signal_worker(last_signal_);
  actions_.on_deadline_exceeded(state_, last_signal_);
  actions_.arm_timer(std::max<Clock::duration>(timeouts_.stop, Milliseconds(1)));
}

/// A stop that follows a drain shortens it; a drain that follows a stop changes nothing.
void Pool::change_end() {
  if (last_signal_ == SIGQUIT && stop_mode_ == StopMode::kStop) begin_end();
}

void Pool::ended() {
  enter(PoolState::kDown);
  if (wanted_) start();
}

void Pool::go_down() { enter(PoolState::kDown); }

}  // namespace serverd
