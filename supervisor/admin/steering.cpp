#include "supervisor/admin/steering.h"

#include "common/exit_code.h"
#include "common/os/error.h"
#include "supervisor/admin/admin_error.h"
#include "supervisor/admin/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <thread>

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace serverd {
namespace {

/// Longer than a worker may take to leave and the next one to start, by default.
constexpr auto kPortPatience = std::chrono::seconds(30);
constexpr auto kLookInterval = std::chrono::milliseconds(20);

void say(const std::string& text) {
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

int end_instance(ControlClient& client, ControlCommand command) {
  // Empty if it is gone already.
  const UniqueFd daemon =
      UniqueFd::adopt(static_cast<int>(::syscall(SYS_pidfd_open, client.daemon(), 0)));
  say(fmt::format("{}: {}", client.instance(), client.carry_out({command, 0, {}})));
  pollfd ended{daemon.get(), POLLIN, 0};
  while (daemon && ::poll(&ended, 1, -1) < 0 && errno == EINTR) continue;
  say(fmt::format("{}: stopped", client.instance()));
  return kExitOk;
}

/// Empty if the port is gone.
std::optional<PortStatus> port_status(ControlClient& client, std::uint16_t number) {
  const InstanceStatus status = client.status();
  const auto found = std::find_if(status.ports.begin(), status.ports.end(),
                                  [&](const PortStatus& port) { return port.port == number; });
  return found == status.ports.end() ? std::nullopt : std::optional(*found);
}

/// Until a worker later than `generation` is up, or has failed.
int wait_for_worker(ControlClient& client, std::uint16_t number, unsigned generation) {
  const auto deadline = std::chrono::steady_clock::now() + kPortPatience;
  for (;;) {
    const auto port = port_status(client, number);
    if (!port) throw AdminError(kExitPortDown, fmt::format("port {} is gone", number));
    const bool changed = port->generation > generation;
    if (changed && port->state == "up") {
      say(fmt::format("port {}: worker {} is up (connections: {})", number, port->worker_pid,
                      port->connections));
      return kExitOk;
    }
    const bool over = std::chrono::steady_clock::now() > deadline;
    if (over || (changed && port->state != "starting" && port->state != "draining"))
      throw AdminError(
          kExitPortDown,
          fmt::format("port {} is {}{}", number, port->state,
                      port->last_death.empty() ? "" : ": the worker " + port->last_death));
    std::this_thread::sleep_for(kLookInterval);
  }
}

}  // namespace

int kill_connection(ControlClient& client, const AdminOptions& options) {
  const auto id = ConnectionId::parse(options.connection);
  if (!id)
    throw AdminError(kExitUsage, fmt::format("'{}' is not a connection (PORT-NUMBER, as 5000-17)",
                                             options.connection));
  say(client.carry_out({ControlCommand::kKill, 0, *id}));
  return kExitOk;
}

int reload_config(ControlClient& client, const AdminOptions& /*options*/) {
  say(fmt::format("{}: {}", client.instance(), client.carry_out({ControlCommand::kReload, 0, {}})));
  return kExitOk;
}

int stop_instance(ControlClient& client, const AdminOptions& /*options*/) {
  return end_instance(client, ControlCommand::kStop);
}

int drain_instance(ControlClient& client, const AdminOptions& /*options*/) {
  return end_instance(client, ControlCommand::kDrain);
}

int restart_port(ControlClient& client, const AdminOptions& options) {
  const auto before = port_status(client, options.port);
  say(client.carry_out({ControlCommand::kRestart, options.port, {}}));
  return wait_for_worker(client, options.port, before ? before->generation : 0);
}

int resume_port(ControlClient& client, const AdminOptions& options) {
  const auto before = port_status(client, options.port);
  say(client.carry_out({ControlCommand::kResume, options.port, {}}));
  if (!before || is_served(*before)) return kExitOk;
  return wait_for_worker(client, options.port, before->generation);
}

}  // namespace serverd
