#include "supervisor/control_answers.h"

#include "common/exit_code.h"
#include "common/log.h"
#include "common/os/error.h"
#include "supervisor/port_status.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <unistd.h>

namespace serverd {
namespace {

using Answer = ControlReply (*)(const ControlTarget&, const ControlRequest&);

ControlReply done(std::string message) {
  ControlOutcome outcome;
  outcome.message = std::move(message);
  return {outcome_text(outcome)};
}

ControlReply refused(std::string why, int code) {
  ControlOutcome outcome;
  outcome.error = std::move(why);
  outcome.code = code;
  return {outcome_text(outcome)};
}

ControlReply no_such_port(std::uint16_t port) {
  return refused(fmt::format("port {} is not one of this instance", port), kExitUsage);
}

/// Since the process was started, whatever programs it has been upgraded to: the 22nd field of
/// /proc/self/stat, see proc(5).
std::uint64_t uptime_s() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::size_t place = text.rfind(')');  // the program's name may hold anything
  for (int field = 2; field < 22 && place != std::string::npos; ++field)
    place = text.find(' ', place + 1);
  if (place == std::string::npos) return 0;
  const auto ticks = std::strtoull(text.c_str() + place, nullptr, 10);
  const auto started_s = ticks / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) - std::min<std::uint64_t>(started_s, now.tv_sec);
}

ControlReply answer_status(const ControlTarget& target, const ControlRequest& /*request*/) {
  InstanceStatus status{target.name, ::getpid(), uptime_s(), {}};
  for (const auto& port : target.ports) status.ports.push_back(status_of(*port));
  return {status_text(status)};
}

/// Who asks may look at the figures of every connection, but not change them.
UniqueFd read_only(int ledger) {
  const std::string path = fmt::format("/proc/self/fd/{}", ledger);
  return UniqueFd::adopt(
      check_call(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "open of a ledger"));
}

ControlReply answer_ledger(const ControlTarget& target, const ControlRequest& request) {
  ControlReply reply;
  std::vector<LedgerOwner> owners;
  for (const auto& port : target.ports) {
    if (port->number() != request.port) continue;
    owners.push_back(
        {port->settings().service, port->settings().protocol, port->number(), port->worker()});
    reply.descriptors.push_back(read_only(port->ledger()));
  }
  if (owners.empty()) return no_such_port(request.port);
  reply.line = ledgers_text(owners);
  return reply;
}

ControlReply answer_kill(const ControlTarget& target, const ControlRequest& request) {
  for (const auto& port : target.ports) {
    if (port->number() != request.connection.port ||
        !port->reset_connection(request.connection.number))
      continue;
    return done(fmt::format("connection {} is reset{}", request.connection.to_string(),
                            port->worker() == 0 ? " as soon as its port has a worker" : ""));
  }
  return refused(fmt::format("there is no connection {}; see `stream-serverd connections`",
                             request.connection.to_string()),
                 kExitUsage);
}

ControlReply answer_reload(const ControlTarget& target, const ControlRequest& /*request*/) {
  return {outcome_text(target.reload())};
}

ControlReply answer_stop(const ControlTarget& target, const ControlRequest& /*request*/) {
  return {outcome_text(target.stop(StopMode::kStop))};
}

ControlReply answer_drain(const ControlTarget& target, const ControlRequest& /*request*/) {
  return {outcome_text(target.stop(StopMode::kDrain))};
}

ControlReply start_now(Port& port) {
  port.want_up();
  return done(fmt::format("port {}: a worker is started", port.number()));
}

bool is_held_back(const Port& port) {
  return port.state() == PoolState::kBackoff || port.state() == PoolState::kQuarantined;
}

ControlReply answer_restart(const ControlTarget& target, const ControlRequest& request) {
  Port* port = target.ports.find(request.port);
  if (port == nullptr) return no_such_port(request.port);
  if (is_held_back(*port)) return start_now(*port);
  if (port->state() == PoolState::kDown)
    return refused(fmt::format("port {} is down", request.port), kExitBind);
  port->replace();
  return done(fmt::format("port {}: worker {} is being replaced", request.port, port->worker()));
}

ControlReply answer_resume(const ControlTarget& target, const ControlRequest& request) {
  Port* port = target.ports.find(request.port);
  if (port == nullptr) return no_such_port(request.port);
  if (is_held_back(*port)) return start_now(*port);
  return done(fmt::format("port {} is not held back, it is {}", request.port,
                          pool_state_name(port->state())));
}

constexpr std::array<Answer, static_cast<std::size_t>(ControlCommand::kCount)> kAnswers = {
    answer_status, answer_ledger, answer_kill,    answer_reload,
    answer_stop,   answer_drain,  answer_restart, answer_resume};

bool changes_something(ControlCommand command) {
  return command != ControlCommand::kStatus && command != ControlCommand::kLedger;
}

ControlReply answer_or_throw(const ControlTarget& target, std::string_view line,
                             const ControlPeer& peer) {
  const auto parsed = parse_request(line);
  if (const auto* wrong = std::get_if<std::string>(&parsed)) return refused(*wrong, kExitUsage);
  const auto& request = std::get<ControlRequest>(parsed);
  if (changes_something(request.command))
    log::info("Process {} of user {} asks: {}", peer.pid, peer.uid, request_text(request));
  return kAnswers[static_cast<std::size_t>(request.command)](target, request);
}

}  // namespace

ControlReply answer(const ControlTarget& target, std::string_view line,
                    const ControlPeer& peer) noexcept {
  try {
    return answer_or_throw(target, line, peer);
  } catch (const std::exception& error) {
    log::error("A request on the control socket failed: {}", error.what());
    return refused(error.what(), kExitSystem);
  }
}

}  // namespace serverd
