#include "supervisor/port_status.h"

#include "common/ledger.h"
#include "common/log.h"
#include "common/printable.h"

#include <exception>

namespace serverd {
namespace {

void add_figures(PortStatus& status, const ledger::Ledger& ledger, const std::string& directory) {
  const ledger::Counters& counters = ledger.counters();
  status.restarts = counters.deaths;
  status.connections = counters.open;
  status.accepted = counters.accepted;
  status.bytes = counters.bytes;
  if (ledger.output().state != ledger::FileState::kOpen) return;
  status.file = printable(directory + "/" + std::string(ledger.output().file_name()));
}

}  // namespace

PortStatus status_of(const Port& port) {
  PortStatus status;
  status.service = port.settings().service;
  status.protocol = port.settings().protocol;
  status.port = port.number();
  status.state = pool_state_name(port.state());
  status.worker_pid = port.worker();
  status.generation = port.generation();
  status.last_death = port.last_death();
  try {
    add_figures(status, ledger::Ledger(port.ledger(), Mapping::Access::kRead),
                port.settings().output);
  } catch (const std::exception& error) {
    log::warning("Port {}: {}", port.number(), error.what());
  }
  return status;
}

}  // namespace serverd
