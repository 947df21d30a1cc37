#pragma once

#include "common/os/unique_fd.h"

namespace serverd {

/// Opens the program `stream-worker` that belongs to this stream-serverd: the one beside it (a
/// build tree), else where it is installed. Workers are started from the descriptor, so that
/// installing another version does not mix the two. Throws StartFailure.
UniqueFd open_worker_program();

}  // namespace serverd
