#include "common/loop/loop.h"

#include "common/os/error.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <sys/epoll.h>

namespace serverd {
namespace {

// poll(2) and epoll(7) give these the same values.
static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR &&
              EPOLLHUP == POLLHUP && EPOLLRDHUP == POLLRDHUP);

constexpr std::size_t kEventsPerTurn = 256;

}  // namespace

bool EpollSet::add(Watch& watch) {
  if (!epoll_) epoll_ = UniqueFd::adopt(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return false;
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(watches_.size()));
    watches_.push_back(nullptr);
    removed_.reserve(watches_.size());  // `remove` must not fail
  }
  watch.index_ = free_.back();
  if (!change(watch, 0)) return false;
  free_.pop_back();
  watches_[watch.index_] = &watch;
  return true;
}

/// EPOLLERR and EPOLLHUP are reported for whatever is in the set, so what is not wanted is not in.
bool EpollSet::change(const Watch& watch, short before) noexcept {
  if (before == watch.events_) return true;
  epoll_event event{};
  event.events = static_cast<std::uint16_t>(watch.events_);
  event.data.u32 = watch.index_;
  const int operation = watch.events_ == 0 ? EPOLL_CTL_DEL
                        : before == 0      ? EPOLL_CTL_ADD
                                           : EPOLL_CTL_MOD;
  return ::epoll_ctl(epoll_.get(), operation, watch.fd_, &event) == 0;
}

/// Taken out by hand: where duplicates of the descriptor exist, close(2) does not.
void EpollSet::remove(const Watch& watch) noexcept {
  if (watch.events_ != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watch.fd_, nullptr);
  watches_[watch.index_] = nullptr;
  removed_.push_back(watch.index_);
}

void EpollSet::dispatch() {
  std::array<epoll_event, kEventsPerTurn> ready;
  const int count = ::epoll_wait(epoll_.get(), ready.data(), ready.size(), 0);
  for (int i = 0; i < count; ++i) {
    Watch* watch = watches_[ready[static_cast<std::size_t>(i)].data.u32];
    // An earlier callback may have removed or silenced it.
    if (watch == nullptr || watch->events_ == 0) continue;
    watch->callback_(static_cast<short>(ready[static_cast<std::size_t>(i)].events));
  }
}

void EpollSet::recycle() {
  free_.insert(free_.end(), removed_.begin(), removed_.end());
  removed_.clear();
}

void Loop::run() {
  while (!stopping_) run_once();
  stopping_ = false;
}

void Loop::run_once(Clock::duration at_most) {
  if (holes_) compact();
  many_.recycle();
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

void Loop::add(Watch& watch) {
  const bool room = watches_.size() < kPolledDirectly || watch.fd_ == many_.fd();
  watch.in_epoll_ = !room && many_.add(watch);
  if (!watch.in_epoll_) return add_to_poll_set(watch);
  if (many_watch_) return;
  many_watch_.emplace(*this, many_.fd(), POLLIN, [this](short) { many_.dispatch(); });
}

void Loop::add_to_poll_set(Watch& watch) {
  watch.in_epoll_ = false;
  watch.index_ = static_cast<std::uint32_t>(watches_.size());
  fds_.push_back({watch.events_ == 0 ? -1 : watch.fd_, watch.events_, 0});
  watches_.push_back(&watch);
}

void Loop::change(Watch& watch, short events) noexcept {
  const short before = std::exchange(watch.events_, events);
  if (watch.in_epoll_) {
    if (many_.change(watch, before)) return;
    watch.events_ = 0;
    many_.remove(watch);
    watch.events_ = events;
    return add_to_poll_set(watch);
  }
  pollfd& entry = fds_[watch.index_];
  entry.fd = events == 0 ? -1 : watch.fd_;
  entry.events = events;
  if (events == 0) entry.revents = 0;  // what this turn has found, too
}

void Loop::remove(const Watch& watch) noexcept {
  if (watch.in_epoll_) return many_.remove(watch);
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
    watches_[kept]->index_ = static_cast<std::uint32_t>(kept);
    ++kept;
  }
  fds_.resize(kept);
  watches_.resize(kept);
  holes_ = false;
}

Watch::Watch(Loop& loop, int fd, short events, std::function<void(short)> callback)
    : loop_(loop), fd_(fd), events_(events), callback_(std::move(callback)) {
  loop_.add(*this);
}

Watch::~Watch() { loop_.remove(*this); }

void Watch::want(short events) noexcept { loop_.change(*this, events); }

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
