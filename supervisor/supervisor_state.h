#pragma once

#include "common/handoff.h"
#include "common/os/unique_fd.h"
#include "supervisor/port.h"
#include "supervisor/spawn.h"

#include <string>
#include <vector>

namespace serverd {

/// What an upgraded supervisor takes over from the program that it was: named descriptors, as in
/// common/handoff.h, in one parcel, since there are several for each port.
struct SupervisorState {
  std::vector<Port::Inherited> ports;
  UniqueFd lock;                 ///< of the runtime directory
  UniqueFd control;              ///< listening socket
  std::vector<NamedFd> sockets;  ///< inherited from the service manager
};

/// Packs borrowed descriptors. Names: as Port::state_to_hand_over gives them, "lock",
/// "control" and "socket.NAME". Throws std::system_error.
UniqueFd pack_state(const std::vector<HandedFd>& descriptors);

/// Throws HandoffError for a name that is unknown, malformed or there twice.
SupervisorState unpack_state(int parcel);

/// Receives the sockets that a service manager handed over and moves them, and everything that is
/// opened from then on, away from the descriptor numbers that workers' hand-overs use. The first
/// thing a daemon does. Throws HandoffError, std::system_error.
std::vector<NamedFd> take_inherited();

/// Out of what was inherited: the state of the supervisor that this process was before an upgrade;
/// the service manager's sockets come in it. Without one: only the sockets. Throws as unpack_state.
SupervisorState take_state(std::vector<NamedFd> inherited);

/// Throws HandoffError for what this program cannot go on with: a ledger of another layout, a port
/// without its ledger, settings that it does not understand. For the check before an upgrade: a
/// ledger can change under its worker's hands, and once the old supervisor is gone that must not
/// stop the new one.
void require_usable(const SupervisorState& state);

}  // namespace serverd
