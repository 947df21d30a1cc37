#pragma once

#include "common/os/unique_fd.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <poll.h>

namespace serverd {

class EpollSet;
class Loop;
class Timer;

using Clock = std::chrono::steady_clock;

/// Calls back while a borrowed descriptor is ready. The descriptor must stay open while watched.
class Watch final {
 public:
  /// `events`: POLLIN, POLLOUT or 0; `callback` receives revents (POLLERR and POLLHUP included).
  Watch(Loop& loop, int fd, short events, std::function<void(short)> callback);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Changes the interest. 0 also silences POLLERR and POLLHUP, which poll(2) otherwise always
  /// reports, so that a paused descriptor cannot spin the loop.
  void want(short events) noexcept;

 private:
  friend class Loop;
  friend class EpollSet;

  Loop& loop_;
  int fd_;
  short events_;
  std::uint32_t index_ = 0;  ///< in the poll set or the epoll set
  bool in_epoll_ = false;
  std::function<void(short)> callback_;
};

/// Many, mostly idle descriptors, which are together one descriptor of the poll set: the cost of a
/// turn does not grow with them.
class EpollSet final {
 public:
  /// -1 until something was added.
  int fd() const noexcept { return epoll_.get(); }
  /// False if the kernel does not take it: epoll_ctl(2) EPERM, ENOSPC, ENOMEM.
  bool add(Watch& watch);
  /// From `before` to the watch's events. False as above; the watch is out of the set then.
  bool change(const Watch& watch, short before) noexcept;
  void remove(const Watch& watch) noexcept;
  /// Calls those that are ready, a bounded number.
  void dispatch();
  /// Once dispatch cannot be on its way: places of watches that were removed can be used again.
  void recycle();

 private:
  UniqueFd epoll_;
  std::vector<Watch*> watches_;  ///< null: removed
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> removed_;
};

/// A single-threaded event loop on poll(2). Watches and timers are members of the object they call
/// and cancel themselves in their destructors; a callback may create, change and destroy any of
/// them but the one that called it, which it destroys by `defer`. Callbacks must not throw.
///
/// Two levels: the first watches stand in the poll set itself, those beyond kPolledDirectly in an
/// epoll instance that is one descriptor of it.
class Loop final {
 public:
  /// poll(2) costs 0.17 µs a descriptor and turn, an epoll instance in it about 1.5 µs.
  static constexpr std::size_t kPolledDirectly = 16;

  Loop() = default;
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Turns until `stop()`, also one that came before. Throws std::system_error only if poll(2)
  /// itself fails.
  void run();
  /// One turn: waits for the next event or timer, at most `at_most`, and calls what is due.
  void run_once(Clock::duration at_most = std::chrono::hours(1));
  void stop() noexcept { stopping_ = true; }
  /// Calls `action` once, at the end of this turn.
  void defer(std::function<void()> action) { deferred_.push_back(std::move(action)); }

  /// CLOCK_MONOTONIC as read at the start of this turn.
  Clock::time_point now() const noexcept { return now_; }

 private:
  friend class Timer;
  friend class Watch;

  void add(Watch& watch);
  void add_to_poll_set(Watch& watch);
  void change(Watch& watch, short events) noexcept;
  void remove(const Watch& watch) noexcept;
  void compact() noexcept;
  int timeout_ms(Clock::duration at_most) const noexcept;
  void call_timers();
  void call_deferred();

  std::vector<pollfd> fds_;
  std::vector<Watch*> watches_;  ///< parallel to fds_; null: cancelled during this turn
  bool holes_ = false;
  std::set<std::pair<Clock::time_point, Timer*>> timers_;
  std::vector<std::function<void()>> deferred_;
  Clock::time_point now_ = Clock::now();
  bool stopping_ = false;
  EpollSet many_;
  std::optional<Watch> many_watch_;  ///< of `many_`, once there is one
};

/// Calls back once, at or after its deadline.
class Timer final {
 public:
  Timer(Loop& loop, std::function<void()> callback);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// Replaces the deadline, if any.
  void arm(Clock::time_point deadline);
  void arm_in(Clock::duration delay) { arm(loop_.now() + delay); }
  void disarm() noexcept;
  bool armed() const noexcept { return armed_; }

 private:
  friend class Loop;

  Loop& loop_;
  std::function<void()> callback_;
  Clock::time_point deadline_{};
  bool armed_ = false;
};

}  // namespace serverd
