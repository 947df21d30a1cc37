#pragma once

#include "common/ledger.h"
#include "common/loop/loop.h"
#include "common/os/unique_fd.h"
#include "worker/intake.h"
#include "worker/session.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>

namespace serverd {

class Connection;

/// What a connection asks of its worker.
class ConnectionHost {
 public:
  /// The connection is done; called once. The host lets go of it at the end of the turn.
  virtual void on_finished(Connection& connection, ledger::Cause cause, std::error_code error) = 0;
  /// Output does not take bytes: it should be paused, with all that share its output, until it
  /// does. EAGAIN is no failure, there is only no room just now.
  virtual void on_stalled(Connection& connection, std::error_code error) = 0;
  /// Its bytes were stored.
  virtual void on_progress(Connection& connection) = 0;
  /// Its bytes wait for the service's commit at the end of the turn; then `settle` or `take_back`.
  virtual void on_deferred(Connection& connection) = 0;

 protected:
  ~ConnectionHost() = default;
};

/// One TCP connection: its socket, its deadline, its place in the ledger. The only socket I/O.
class Connection final {
 public:
  enum class Origin {
    kAccepted,
    kResumed  ///< an earlier worker had it
  };

  /// `slot` is already filled in. `idle_timeout` zero: none.
  Connection(Loop& loop, ConnectionHost& host, Intake& intake, UniqueFd fd,
             std::uint32_t slot_index, ledger::Slot& slot, std::unique_ptr<Session> session,
             Clock::duration idle_timeout, Origin origin);

  std::uint32_t slot_index() const noexcept { return slot_index_; }
  ledger::Slot& slot() const noexcept { return slot_; }
  Session& session() const noexcept { return *session_; }
  bool finished() const noexcept { return finished_; }
  /// Borrowed.
  int fd() const noexcept { return fd_.get(); }
  /// The address that the peer reached us at; empty if the socket does not say.
  std::optional<SocketAddress> local_address() const;

  void pause() noexcept;
  void resume() noexcept;
  /// Reads what has been received until now, then ends the connection.
  void stop_after_received();
  /// Stores what has been received until now, as far as that goes without waiting and until
  /// `deadline`.
  void store_received(Clock::time_point deadline);
  /// Ends the connection at once, with RST; what was not read is lost.
  void kill();
  /// Ends it for the peer, though duplicates of the descriptor are open elsewhere. False, and
  /// nothing is done, for one that is to be reset: only the last close(2) does that.
  bool shut_down() const noexcept;
  /// The service has committed: takes what was deferred from the socket, and sends what is due.
  void settle();
  /// It could not: what was deferred stays in the socket, to be shown again.
  void take_back() noexcept { deferred_.reset(); }

 private:
  void on_ready(short events);
  void read_chunk(bool ended);
  void after_chunk(const Intake::Result& result, bool ended);
  void end_if_due();
  void wait_for_more_than(std::size_t held) noexcept;
  void write_output() noexcept;
  void give_up_output(std::error_code error) noexcept;
  void watch_what_is_due() noexcept;
  void on_idle();
  void finish(ledger::Cause cause, std::error_code error = {});
  void finish_after_eof();
  bool stop_mark_reached() const noexcept;

  Loop& loop_;
  ConnectionHost& host_;
  Intake& intake_;
  UniqueFd fd_;
  std::uint32_t slot_index_;
  ledger::Slot& slot_;
  std::unique_ptr<Session> session_;
  Clock::duration idle_timeout_;
  Clock::time_point last_heard_;
  std::optional<std::uint64_t> stop_mark_;  ///< end when the slot's bytes get there
  std::size_t held_ = 0;                    ///< bytes that the session left in the socket
  std::optional<std::uint64_t> sent_;       ///< bytes; empty: nothing can or need be sent
  std::error_code send_error_;              ///< the reset that sending met before reading did
  bool output_due_ = false;                 ///< the socket has no room for it now
  bool more_output_ = false;                ///< the session is about to have more
  bool crowded_ = false;                    ///< nothing is read until the peer has taken its output
  bool eof_ = false;                        ///< the peer has finished, and may still read
  struct Deferred {
    Intake::Result result;
    bool ended;
  };
  std::optional<Deferred> deferred_;  ///< taken by the session, to be committed
  bool paused_ = false;
  bool finished_ = false;
  bool to_be_reset_ = false;
  Timer idle_;
  Watch watch_;
};

}  // namespace serverd
