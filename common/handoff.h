#pragma once

#include "common/os/unique_fd.h"

#include <csignal>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

/// The contract between a service manager and the process it starts, the same on both sides of the
/// supervisor: descriptors from number 3 on, named by LISTEN_FDNAMES, meant for the process named
/// by LISTEN_PID. See sd_listen_fds(3).
namespace serverd {

/// Names of the descriptors that a worker is given.
namespace handoff_name {
inline constexpr const char* kListen = "listen";  ///< a listening socket; one or more
inline constexpr const char* kConfig = "config";  ///< sealed memfd with the worker's settings
inline constexpr const char* kLedger = "ledger";  ///< memfd sealed against growing and shrinking
inline constexpr const char* kParcel = "parcel";  ///< connections of workers before; any number
inline constexpr const char* kParcelOut = "parcel-out";  ///< where the keeper parks connections

/// What a supervisor is given by the one before it, which was upgraded: a parcel with its state.
inline constexpr const char* kSupervisorState = "supervisor-state";
}  // namespace handoff_name

/// Set for a worker whose predecessor died by its own fault (SIGSEGV and the like): after how many
/// such deaths in a row, with the same bytes in hand, their connection is to be reset.
inline constexpr const char* kBlameVariable = "STREAM_WORKER_BLAME_AFTER";

/// Set for a worker that is to give the supervisor a parcel with duplicates of its connections
/// whenever they have changed, as a service does for systemd: FDSTORE=1 with that descriptor.
inline constexpr const char* kStoreVariable = "FDSTORE";
/// Such a worker leaves the parcels that it is given as they are, and reports by this line that it
/// has all that is in them.
inline constexpr const char* kUnpackedMessage = "X_UNPACKED=1";

/// The supervisor has written a request into a slot of the ledger. Ignored by default (signal(7)),
/// so that it does not end a worker that is just starting. The others that a worker is sent: TERM
/// (stop), QUIT (drain), USR1 (new files), USR2 (leave at once), ABRT (hung), HUP (by the kernel:
/// the supervisor is gone).
inline constexpr int kRequestSignal = SIGURG;

/// The hand-over is wrong: names the descriptor and what it should be.
class HandoffError final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct NamedFd {
  std::string name;
  UniqueFd fd;
  int number = -1;  ///< as which it was handed over; -1: not known
};

/// Takes every descriptor that LISTEN_FDS announces to this process, with CLOEXEC set, and clears
/// the variables. Nothing announced, or meant for another process (which the log says): empty.
/// Throws HandoffError, which names variable and descriptor, for malformed variables and for
/// descriptors that are not open.
std::vector<NamedFd> receive_descriptors();

/// What a worker works with.
struct Handoff {
  std::vector<UniqueFd> listeners;  ///< none only where there are parcels to finish
  UniqueFd config;
  UniqueFd ledger;
  std::vector<UniqueFd> parcels;
  UniqueFd parcel_out;  ///< empty without a supervisor

  /// Sorts `descriptors` into their places. Throws HandoffError if one is unknown, doubled, wrong
  /// in kind or missing.
  static Handoff from_supervisor(std::vector<NamedFd> descriptors);
  /// Without a supervisor: every descriptor must be a listening TCP socket, of any name.
  static Handoff from_activation(std::vector<NamedFd> descriptors);
};

}  // namespace serverd
