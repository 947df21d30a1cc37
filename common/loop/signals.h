#pragma once

#include "common/loop/loop.h"
#include "common/os/unique_fd.h"

#include <functional>
#include <initializer_list>

#include <signal.h>

namespace serverd {

/// Receives signals through signalfd(2) in the loop. The signals are blocked for the whole process
/// from construction on and stay blocked: a signal that comes while we shut down must not kill us
/// with its default action.
class Signals final {
 public:
  using Callback = std::function<void(int signal)>;

  /// Throws std::system_error.
  Signals(Loop& loop, std::initializer_list<int> signals, Callback callback);

 private:
  void receive();

  Callback callback_;
  UniqueFd fd_;
  Watch watch_;
};

/// Signal mask and dispositions as a program expects them at its start: nothing blocked, SIGPIPE
/// default. Async-signal-safe, for use between fork(2) and exec(2).
void reset_signals_for_exec() noexcept;

}  // namespace serverd
