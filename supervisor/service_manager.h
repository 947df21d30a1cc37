#pragma once

#include "common/loop/loop.h"
#include "common/notify.h"
#include "common/os/unique_fd.h"

#include <chrono>
#include <deque>
#include <string>

namespace serverd {

/// What the daemon tells the service manager that started it, by the protocol of sd_notify(3). A
/// manager that does not read never blocks us: what its socket does not take waits here, in order.
/// Without a manager nothing is done.
class ServiceManager final {
 public:
  /// Takes NOTIFY_SOCKET and the watchdog's variables out of the environment, and sends WATCHDOG=1
  /// from the loop from then on, if that is asked for.
  explicit ServiceManager(Loop& loop);

  bool present() const noexcept { return notifier_.connected(); }

  /// The start may take so long from now on.
  void starting(std::chrono::microseconds at_most);
  /// Every port is served or judged.
  void ready(const std::string& status);
  void status(const std::string& status);
  /// New settings are about to be applied; `ready` follows.
  void reloading();
  /// The end begins and takes at most so long.
  void stopping(const std::string& status, std::chrono::microseconds at_most);

  /// Has a descriptor kept for the next start, under this name, whatever its other end does.
  void keep(const std::string& name, UniqueFd fd);
  /// Has all that is kept under this name closed.
  void forget(const std::string& name);
  /// True if nothing waits to be told.
  bool idle() const noexcept { return waiting_.empty(); }
  /// Waits until all that waits is told; false at the deadline.
  bool flush(Clock::time_point deadline);
  /// Waits until the manager has seen to all that it was told, see sd_notify_barrier(3).
  bool barrier(Clock::time_point deadline);

 private:
  struct Message {
    std::string lines;
    UniqueFd fd{};  ///< goes with them

    bool is_status() const { return lines.starts_with("STATUS="); }
  };

  void send(Message message);
  bool try_to_send(const Message& message) const noexcept;
  void send_waiting();
  void send_heartbeat();

  Notifier notifier_ = Notifier::from_environment();
  std::string status_;           ///< the last that was told
  std::deque<Message> waiting_;  ///< for room in the manager's socket
  Timer retry_;
  std::chrono::microseconds watchdog_ = take_watchdog_interval();
  Timer heartbeat_;
};

}  // namespace serverd
