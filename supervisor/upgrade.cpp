#include "supervisor/upgrade.h"

#include "common/exit_code.h"
#include "common/log.h"
#include "common/os/error.h"
#include "supervisor/supervisor_state.h"
#include "supervisor/users.h"
#include "supervisor/worker_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>

#include <fcntl.h>
#include <sys/wait.h>

namespace serverd {
namespace {

constexpr auto kCheckPatience = std::chrono::seconds(10);
constexpr auto kRetryDelay = std::chrono::milliseconds(50);

}  // namespace

void check_adoption(const Config& config, std::vector<NamedFd> inherited) {
  worker_user(config.daemon.user);
  open_worker_program();
  const SupervisorState state = take_state(std::move(inherited));
  if (!state.lock) throw HandoffError("supervisor state: nothing was handed over");
  require_usable(state);
}

Upgrade::Upgrade(Loop& loop, ProgramStart start, const Ports& ports, State state)
    : start_(std::move(start)),
      ports_(ports),
      state_(std::move(state)),
      timer_(loop, [this] { on_timer(); }) {}

void Upgrade::begin() {
  try {
    const UniqueFd program = UniqueFd::adopt(
        check_call(::open(start_.path.c_str(), O_PATH | O_CLOEXEC), "open " + start_.path));
    const UniqueFd state = pack_state(state_());
    SpawnRequest request{
        program.get(),   start_.path, {{handoff_name::kSupervisorState, state.get()}}, {}, {},
        start_.arguments};
    request.arguments.push_back("--adopt-check");
    check_ = spawn(request);
    timer_.arm_in(kCheckPatience);
  } catch (const std::system_error& error) {
    refuse(error.what());
  }
}

void Upgrade::refuse(const std::string& why) {
  check_ = 0;
  timer_.disarm();
  log::error("Upgrade refused: {}; everything goes on as before", why);
}

void Upgrade::cancel() noexcept {
  check_ = 0;
  timer_.disarm();
  to_renew_.clear();
}

void Upgrade::on_child_exited(pid_t pid, int code, int status) {
  if (pid != check_) return;
  timer_.disarm();
  if (code != CLD_EXITED || status != kExitOk)
    return refuse(fmt::format("the new program cannot take over ({} {})",
                              code == CLD_EXITED ? "exit code" : "signal", status));
  check_ = 0;
  carry_out();
}

/// A check that hangs is ended, an upgrade that had to wait is tried again.
void Upgrade::on_timer() {
  if (check_ != 0)
    ::kill(check_, SIGKILL);
  else
    carry_out();
}

void Upgrade::carry_out() {
  const bool settled =
      std::all_of(ports_.begin(), ports_.end(), [](const auto& port) { return port->settled(); });
  if (!settled) return timer_.arm_in(kRetryDelay);
  try {
    const UniqueFd state = pack_state(state_());
    refuse(fmt::format("exec {}: {}", start_.path, error_text(reexec(start_, state.get()))));
  } catch (const std::system_error& error) {
    refuse(error.what());
  }
}

void Upgrade::renew(const Port& port) { to_renew_.emplace_back(port.number(), port.generation()); }

void Upgrade::renew_next() {
  while (!to_renew_.empty()) {
    const auto [number, generation] = to_renew_.back();
    Port* port = ports_.find(number);
    if (port != nullptr && port->state() == PoolState::kUp && port->generation() == generation)
      return port->replace();
    const bool on_its_way = port != nullptr && (port->state() == PoolState::kStarting ||
                                                port->state() == PoolState::kDraining);
    if (on_its_way) return;
    to_renew_.pop_back();
    if (to_renew_.empty()) log::info("Upgrade complete: every worker runs the new program");
  }
}

}  // namespace serverd
