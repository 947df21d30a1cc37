#pragma once

#include "common/handoff.h"
#include "common/os/unique_fd.h"
#include "supervisor/port.h"
#include "supervisor/spawn.h"

#include <string>
#include <vector>

namespace serverd {

/// What a supervisor takes over from the one before it, which was upgraded or which the service
/// manager has restarted: named descriptors, as in common/handoff.h, in one parcel, since there are
/// several for each port.
struct SupervisorState {
  std::vector<Port::Inherited> ports;
  UniqueFd lock;                   ///< of the runtime directory
  UniqueFd control;                ///< listening socket
  std::vector<NamedFd> sockets;    ///< inherited from the service manager
  std::uint64_t kept = 0;          ///< number of what is in the service manager's store; 0: nothing
  std::vector<std::string> stale;  ///< names of what should not be in there
  bool upgraded = false;  ///< the supervisor before us was this process, whose children are ours
};

/// Packs borrowed descriptors. Names: as Port::state_to_hand_over gives them, "lock",
/// "control", "socket.NAME" and "kept.NUMBER", of which only the name counts. Throws
/// std::system_error.
UniqueFd pack_state(const std::vector<HandedFd>& descriptors);

/// Throws HandoffError for a name that is unknown, malformed or there twice.
SupervisorState unpack_state(int parcel);

/// As unpack_state, of what a service manager has kept, which stays in `parcel`: a start that fails
/// takes nothing from the next. What is unknown, or of no use to this version, is closed with a log
/// line.
SupervisorState unpack_kept_state(int parcel);

/// Receives the sockets that a service manager handed over and moves them, and everything that is
/// opened from then on, away from the descriptor numbers that workers' hand-overs use. The first
/// thing a daemon does. Throws HandoffError, std::system_error.
std::vector<NamedFd> take_inherited();

/// Out of what was inherited: the state of the supervisor that this process was before an upgrade;
/// the service manager's sockets come in it. Else the state that the service manager has kept, and
/// its sockets. Without one: only the sockets. Throws as unpack_state.
SupervisorState take_state(std::vector<NamedFd> inherited);

/// Throws HandoffError for what this program cannot go on with: a ledger of another layout, a port
/// without its ledger, settings that it does not understand. For the check before an upgrade: a
/// ledger can change under its worker's hands, and once the old supervisor is gone that must not
/// stop the new one.
void require_usable(const SupervisorState& state);

}  // namespace serverd
