#pragma once

namespace serverd {

/// Exit codes of every program here, after sysexits.h(3head) and, for the state of a daemon, the
/// Linux Standard Base's `status` action.
enum ExitCode : int {
  kExitOk = 0,
  kExitPortDown = 1,       ///< `status`: some port is not served; a port is not up again
  kExitNotRunning = 3,     ///< an admin command: there is no such daemon, see LSB
  kExitUsage = 64,         ///< wrong arguments
  kExitBind = 69,          ///< a port could not be bound, or the instance runs; a client: no server
  kExitBug = 70,           ///< a bug of ours
  kExitSystem = 71,        ///< a system call failed
  kExitCannotCreate = 73,  ///< output cannot be created
  kExitIo = 74,            ///< input or output failed on the way
  kExitRestart = 75,       ///< a worker's: start me again
  kExitPermission = 77,    ///< permission denied
  kExitConfig = 78,        ///< configuration or hand-over is wrong; a worker's: never restart me
};

}  // namespace serverd
