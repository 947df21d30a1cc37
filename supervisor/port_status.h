#pragma once

#include "supervisor/control_protocol.h"
#include "supervisor/port.h"

namespace serverd {

/// What there is to say about a port. Figures come from its ledger, as its worker has left them.
PortStatus status_of(const Port& port);

}  // namespace serverd
