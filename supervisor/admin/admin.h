#pragma once

#include "supervisor/admin/control_client.h"
#include "supervisor/admin/options.h"

namespace serverd {

/// A subcommand that speaks to a running daemon.
using AdminCommand = int (*)(ControlClient& client, const AdminOptions& options);

/// Runs it; with `watch_s` again and again, on a terminal in the same place. Says what goes wrong
/// on standard error. Returns the exit code.
int run_admin(AdminCommand command, const AdminOptions& options);

}  // namespace serverd
