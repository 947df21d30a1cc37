#pragma once

#include "common/ledger.h"
#include "common/os/socket.h"
#include "worker/sink.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <system_error>

namespace serverd {

class ServiceHost;

/// How many of the bytes it was shown a session takes: first those that were protocol, then those
/// that belong into its sink. The rest stays in the socket and is shown again, with more behind it.
struct Taken {
  std::size_t protocol = 0;
  std::size_t payload = 0;
  bool blocked = false;   ///< the rest waits for room in the service's output, not for more bytes
  bool crowded = false;   ///< the rest waits until the peer has taken the output that is due to it
  bool deferred = false;  ///< what is taken is safe only after Service::commit, at the turn's end
};

/// One connection's side of a protocol. Never sees a descriptor; called by Connection and Intake.
/// What it must know after its worker's death stands in its slot.
class Session {
 public:
  virtual ~Session() = default;
  /// Bytes from the peer in order; `last`: nothing follows them. May see the same bytes again if
  /// they could not be stored.
  virtual Taken on_bytes(std::span<const std::byte> bytes, bool last) noexcept = 0;
  /// Where payload goes, if any; must outlive the session.
  virtual Sink* sink() noexcept { return nullptr; }
  /// True if `on_bytes` ever leaves bytes in the socket.
  virtual bool leaves_bytes() const noexcept { return false; }
  /// True if the protocol sends anything to the peer.
  virtual bool answers() const noexcept { return false; }
  /// Of all that the peer is to be sent over the connection's life, what follows the first `sent`
  /// bytes. A successor gives the same, so that no answer is repeated or torn.
  virtual std::span<const std::byte> output(std::uint64_t sent) noexcept {
    static_cast<void>(sent);
    return {};
  }
  /// True while more will follow what `output` gives now, whatever the peer does.
  virtual bool more_output() const noexcept { return false; }
  /// Set: the connection is to end, for this cause; at once if it is kSlow, otherwise when the
  /// output has been sent.
  virtual std::optional<ledger::Cause> ending() const noexcept { return std::nullopt; }
  /// The peer takes no more output, though what it had sent may still come.
  virtual void on_deaf() noexcept {}
  /// True if it was we who connected.
  virtual bool opened_by_us() const noexcept { return false; }
  /// The peer was silent for the idle timeout; the connection ends with this.
  virtual void on_idle() noexcept {}
  /// The peer has finished; nothing more comes. What is to be sent still goes out.
  virtual void on_eof() noexcept {}
  /// The connection has ended.
  virtual void on_end(ledger::Cause cause, std::error_code error) noexcept {
    static_cast<void>(cause);
    static_cast<void>(error);
  }
};

/// One protocol's state for the whole port. Makes the sessions.
class Service {
 public:
  virtual ~Service() = default;
  /// Called once, before any session is made. The host outlives the service.
  virtual void attach(ServiceHost& host) { static_cast<void>(host); }
  /// The worker is ready to serve `addresses`.
  virtual void on_serving(std::span<const SocketAddress> addresses) {
    static_cast<void>(addresses);
  }
  /// For a connection that was just accepted into `slot`.
  virtual std::unique_ptr<Session> open(ledger::Slot& slot) = 0;
  /// For a connection that an earlier worker had in `slot`.
  virtual std::unique_ptr<Session> resume(ledger::Slot& slot) = 0;
  /// For a connection that was made for ServiceHost::connect with this token.
  virtual std::unique_ptr<Session> open_outgoing(ledger::Slot& slot, std::uint64_t token) {
    static_cast<void>(slot);
    static_cast<void>(token);
    return nullptr;
  }
  /// The connection for this token could not be made.
  virtual void on_connect_failed(std::uint64_t token, std::error_code error) {
    static_cast<void>(token);
    static_cast<void>(error);
  }
  /// Makes safe what sessions took with `deferred` in this turn, all of it or, with an error,
  /// nothing: then they see the same bytes again. Called before any of these bytes leaves its
  /// socket.
  virtual std::error_code commit() noexcept { return {}; }
  /// Where the service itself knows, whatever the slot says, how many bytes of the connection are
  /// safe.
  virtual std::optional<std::uint64_t> committed_offset(const ledger::Slot& slot) noexcept {
    static_cast<void>(slot);
    return std::nullopt;
  }
  /// True if sessions end what is idle by themselves, and idle_timeout is theirs.
  virtual bool judges_idleness() const noexcept { return false; }
  /// USR1: output goes on in new files.
  virtual void rotate() noexcept = 0;
  /// True if one connection's output that takes no bytes is every connection's.
  virtual bool shares_output() const noexcept { return true; }
  /// True while something of the service's own waits for `retry` to write it.
  virtual bool waits() const noexcept { return false; }
  /// Called on a timer while output fails: opens what should be open.
  virtual std::error_code retry() noexcept = 0;
  /// That timer's interval.
  virtual std::chrono::milliseconds retry_interval() const noexcept {
    return std::chrono::milliseconds(500);
  }
};

}  // namespace serverd
