#pragma once

#include "common/os/unique_fd.h"

#include <sys/types.h>

namespace serverd {

/// Keeps the worker's connections alive through its death: a process that shares our table of
/// descriptors (clone(2) with CLONE_FILES) and nothing else, and waits. When we are dead, for
/// whatever reason, it puts every connected TCP socket of the table into the parcel and exits,
/// which closes the parcel. Costs nothing for a connection, and close(2) in the worker still
/// closes.
class Keeper final {
 public:
  /// `entrance`: of the parcel; the keeper process uses its number, so it must stay open. Throws
  /// std::system_error.
  explicit Keeper(UniqueFd entrance);

  /// SIGCHLD: if the keeper has died, makes another.
  void revive_if_dead();
  /// Puts a new one in its place, which may be dying: before an exit that leaves connections to it.
  void renew();
  /// Ends it, so that connections die with us: before a normal exit.
  void dismiss() noexcept;

 private:
  void start();
  struct Process {
    pid_t pid = 0;  ///< 0: there is none
    UniqueFd pidfd;
  };
  static void end(const Process& keeper) noexcept;

  UniqueFd entrance_;
  UniqueFd own_pidfd_;
  Process process_;
};

}  // namespace serverd
