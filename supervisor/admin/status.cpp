#include "supervisor/admin/status.h"

#include "common/exit_code.h"

#include <fmt/format.h>

#include <algorithm>

namespace serverd {
namespace {

Colour colour_of(const PortStatus& port) {
  if (port.state == "up") return Colour::kGreen;
  return is_served(port) || port.state == "starting" ? Colour::kYellow : Colour::kRed;
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

}  // namespace

bool is_served(const PortStatus& port) noexcept {
  return port.state == "up" || port.state == "draining";
}

std::string status_table(const InstanceStatus& status, TableStyle style) {
  const auto up = std::count_if(status.ports.begin(), status.ports.end(),
                                [](const PortStatus& port) { return port.state == "up"; });
  std::string text =
      fmt::format("{}: pid {}, running for {}, {} of {} ports up\n", status.name, status.pid,
                  duration_text(status.uptime_s), up, status.ports.size());
  Table table({{"Port", true},
               {"Service"},
               {"Protocol"},
               {"State"},
               {"Worker", true},
               {"Generation", true},
               {"Restarts", true},
               {"Connections", true},
               {"Accepted", true},
               {"Bytes", true},
               {"File"}});
  for (const PortStatus& port : status.ports)
    table.add({std::to_string(port.port), port.service, port.protocol,
               Table::Cell(port.state, colour_of(port)),
               port.worker_pid == 0 ? "-" : std::to_string(port.worker_pid),
               std::to_string(port.generation), std::to_string(port.restarts),
               std::to_string(port.connections), std::to_string(port.accepted),
               std::to_string(port.bytes), or_dash(port.file)});
  text += table.text(style);
  for (const PortStatus& port : status.ports)
    if (!is_served(port) && !port.last_death.empty())
      text += fmt::format("Port {} is not served: the worker {}\n", port.port, port.last_death);
  return text;
}

int show_status(ControlClient& client, const AdminOptions& options) {
  const InstanceStatus status = client.status();
  const std::string text =
      options.json ? status_text(status) + "\n" : status_table(status, style_of_stdout());
  fmt::print("{}", text);
  const bool all = std::all_of(status.ports.begin(), status.ports.end(), is_served);
  return all ? kExitOk : kExitPortDown;
}

}  // namespace serverd
