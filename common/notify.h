#pragma once

#include "common/os/unique_fd.h"

#include <chrono>
#include <span>
#include <string>
#include <string_view>

namespace serverd {

inline constexpr std::size_t kNotifyDescriptors = 4;

/// Reports to the service manager (systemd, or our supervisor) by the protocol of sd_notify(3):
/// one datagram of KEY=VALUE lines to the socket named by NOTIFY_SOCKET.
///
/// Unlike sd_notify(3) it never blocks: a message that a full socket does not take is dropped, so
/// that a manager which does not read cannot hang us.
class Notifier final {
 public:
  /// Connects to NOTIFY_SOCKET and unsets it. Unset, or not reachable: a notifier that does
  /// nothing.
  static Notifier from_environment();

  bool connected() const noexcept { return static_cast<bool>(socket_); }
  /// -1: not connected. For waiting until there is room for a message again (POLLOUT).
  int fd() const noexcept { return socket_.get(); }
  /// With at most kNotifyDescriptors borrowed descriptors. False if the message was dropped.
  bool send(std::string_view lines, std::span<const int> descriptors = {}) const noexcept;

 private:
  UniqueFd socket_;
};

/// WATCHDOG_USEC: within what time the service manager expects WATCHDOG=1, see
/// sd_watchdog_enabled(3). Zero if it expects none, or expects it of another process. Unsets the
/// variables.
std::chrono::microseconds take_watchdog_interval();

}  // namespace serverd
