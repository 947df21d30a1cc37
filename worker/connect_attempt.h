#pragma once

#include "common/loop/loop.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"

#include <functional>
#include <system_error>

namespace serverd {

/// A connection being made, without blocking the loop. Says once how it went; its owner destroys it
/// after that, not from within the call.
class ConnectAttempt final {
 public:
  /// With an error there is no descriptor.
  using Done = std::function<void(UniqueFd, std::error_code)>;

  /// Throws std::system_error for what fails at once; then `done` is never called.
  ConnectAttempt(Loop& loop, const SocketAddress& address, Clock::duration timeout, Done done);

 private:
  void on_ready();
  void finish(std::error_code error);

  UniqueFd fd_;
  Done done_;
  Timer deadline_;
  Watch watch_;
};

}  // namespace serverd
