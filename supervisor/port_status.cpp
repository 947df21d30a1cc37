#include "supervisor/port_status.h"

#include "common/ledger.h"
#include "common/printable.h"

namespace serverd {

PortStatus status_of(const Port& port) {
  PortStatus status;
  status.service = port.settings().service;
  status.protocol = port.settings().protocol;
  status.port = port.number();
  status.state = pool_state_name(port.state());
  status.worker_pid = port.worker();
  status.generation = port.generation();
  status.last_death = printable(port.last_death());

  const ledger::Ledger* figures = port.figures();
  if (figures == nullptr) return status;
  const ledger::Counters& counters = figures->counters();
  status.restarts = counters.deaths;
  status.connections = counters.open;
  status.accepted = counters.accepted;
  status.bytes = counters.bytes;
  const ledger::FileRecord& output = figures->output();
  if (output.state == ledger::FileState::kOpen)
    status.file = printable(port.settings().output + "/" + std::string(output.file_name()));
  return status;
}

}  // namespace serverd
