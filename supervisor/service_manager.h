#pragma once

#include "common/loop/loop.h"
#include "common/notify.h"

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

 private:
  void send(std::string lines);
  void send_waiting();
  void send_heartbeat();

  Notifier notifier_ = Notifier::from_environment();
  std::string status_;               ///< the last that was told
  std::deque<std::string> waiting_;  ///< for room in the manager's socket
  Timer retry_;
  std::chrono::microseconds watchdog_ = take_watchdog_interval();
  Timer heartbeat_;
};

}  // namespace serverd
