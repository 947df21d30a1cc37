#pragma once

#include "supervisor/admin/control_client.h"
#include "supervisor/admin/options.h"
#include "supervisor/admin/table.h"
#include "supervisor/control_protocol.h"

#include <string>

namespace serverd {

/// A port that is being replaced or removed serves its connections; any other that is not up is
/// down.
bool is_served(const PortStatus& port) noexcept;

std::string status_table(const InstanceStatus& status, TableStyle style);

/// The subcommand: kExitOk if every port is served, else kExitPortDown. Throws AdminError.
int show_status(ControlClient& client, const AdminOptions& options);

}  // namespace serverd
