#pragma once

#include "common/ledger.h"
#include "worker/sink.h"

#include <cstddef>
#include <memory>
#include <span>
#include <system_error>

namespace serverd {

/// How many of the bytes it was shown a session takes: first those that were protocol, then those
/// that belong into its sink. The rest stays in the socket.
struct Taken {
  std::size_t protocol = 0;
  std::size_t payload = 0;
};

/// One connection's side of a protocol. Never sees a descriptor; called by Intake.
class Session {
 public:
  virtual ~Session() = default;
  /// Bytes from the peer in order. May see the same bytes again if they could not be stored.
  virtual Taken on_bytes(std::span<const std::byte> bytes) noexcept = 0;
  /// Where payload goes; must outlive the session.
  virtual Sink& sink() noexcept = 0;
};

/// One protocol's state for the whole port. Makes the sessions.
class Service {
 public:
  virtual ~Service() = default;
  /// For a connection that was just accepted into `slot`.
  virtual std::unique_ptr<Session> open(ledger::Slot& slot) = 0;
  /// For a connection that an earlier worker had in `slot`.
  virtual std::unique_ptr<Session> resume(ledger::Slot& slot) = 0;
  /// USR1: output goes on in new files.
  virtual void rotate() noexcept = 0;
  /// Called on a timer while output fails: opens what should be open.
  virtual std::error_code retry() noexcept = 0;
};

}  // namespace serverd
