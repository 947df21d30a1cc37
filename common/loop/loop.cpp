#include "common/loop/loop.h"

#include "common/os/error.h"

#include <algorithm>
#include <cerrno>

namespace serverd {

void Loop::run() {
  while (!stopping_) run_once();
  stopping_ = false;
}

void Loop::run_once(Clock::duration at_most) {
  if (holes_) compact();
  now_ = Clock::now();
  int ready = ::poll(fds_.data(), fds_.size(), timeout_ms(at_most));
  if (ready < 0) {
    if (errno != EINTR) throw_system_error(errno, "poll");
    ready = 0;
  }
  now_ = Clock::now();
  // Watches added by a callback stand behind `count` with revents 0 and are not called yet.
  const std::size_t count = fds_.size();
  for (std::size_t i = 0; i < count && ready > 0; ++i) {
    const short revents = std::exchange(fds_[i].revents, short{0});
    if (revents == 0) continue;
    --ready;
    if (watches_[i] != nullptr) watches_[i]->callback_(revents);
  }
  call_timers();
  call_deferred();
}

void Loop::call_timers() {
  // Bounded, so that a timer which arms itself for "now" cannot hold the turn.
  for (std::size_t left = timers_.size(); left > 0; --left) {
    if (timers_.empty() || timers_.begin()->first > now_) return;
    Timer& timer = *timers_.begin()->second;
    timer.disarm();
    timer.callback_();
  }
}

void Loop::call_deferred() {
  for (const auto& action : std::exchange(deferred_, {})) action();
}

int Loop::timeout_ms(Clock::duration at_most) const noexcept {
  if (!deferred_.empty()) return 0;
  Clock::duration wait = at_most;
  if (!timers_.empty()) wait = std::min(wait, timers_.begin()->first - now_);
  wait = std::clamp<Clock::duration>(wait, Clock::duration::zero(), std::chrono::hours(24));
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(wait).count());
}

void Loop::add(Watch& watch, int fd, short events) {
  watch.index_ = fds_.size();
  fds_.push_back({events == 0 ? -1 : fd, events, 0});
  watches_.push_back(&watch);
}

void Loop::remove(const Watch& watch) noexcept {
  fds_[watch.index_] = {-1, 0, 0};
  watches_[watch.index_] = nullptr;
  holes_ = true;
}

void Loop::compact() noexcept {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    if (watches_[i] == nullptr) continue;
    fds_[kept] = fds_[i];
    watches_[kept] = watches_[i];
    watches_[kept]->index_ = kept;
    ++kept;
  }
  fds_.resize(kept);
  watches_.resize(kept);
  holes_ = false;
}

Watch::Watch(Loop& loop, int fd, short events, std::function<void(short)> callback)
    : loop_(loop), fd_(fd), callback_(std::move(callback)) {
  loop_.add(*this, fd, events);
}

Watch::~Watch() { loop_.remove(*this); }

void Watch::want(short events) noexcept {
  pollfd& entry = loop_.fds_[index_];
  entry.fd = events == 0 ? -1 : fd_;
  entry.events = events;
  if (events == 0) entry.revents = 0;  // what this turn has found, too
}

Timer::Timer(Loop& loop, std::function<void()> callback)
    : loop_(loop), callback_(std::move(callback)) {}

Timer::~Timer() { disarm(); }

void Timer::arm(Clock::time_point deadline) {
  disarm();
  deadline_ = deadline;
  loop_.timers_.emplace(deadline_, this);
  armed_ = true;
}

void Timer::disarm() noexcept {
  if (!armed_) return;
  loop_.timers_.erase({deadline_, this});
  armed_ = false;
}

}  // namespace serverd
