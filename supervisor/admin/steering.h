#pragma once

#include "supervisor/admin/control_client.h"
#include "supervisor/admin/options.h"

namespace serverd {

/// The subcommands that do something. Each says on standard output what came of it, and returns the
/// exit code or throws AdminError.
int kill_connection(ControlClient& client, const AdminOptions& options);
int reload_config(ControlClient& client, const AdminOptions& options);
/// These two wait for the daemon's end.
int stop_instance(ControlClient& client, const AdminOptions& options);
int drain_instance(ControlClient& client, const AdminOptions& options);
/// These two wait for what becomes of the port.
int restart_port(ControlClient& client, const AdminOptions& options);
int resume_port(ControlClient& client, const AdminOptions& options);

}  // namespace serverd
