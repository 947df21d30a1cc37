#include "supervisor/instance.h"

#include "common/exit_code.h"
#include "common/log.h"
#include "common/os/error.h"
#include "supervisor/inherited.h"
#include "supervisor/spawn.h"
#include "supervisor/start_failure.h"
#include "supervisor/users.h"
#include "supervisor/worker_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace serverd {
namespace {

/// A process in uninterruptible sleep does not even take SIGKILL; we do not wait for it forever.
constexpr auto kKillPatience = std::chrono::seconds(1);

constexpr auto kStartMargin = std::chrono::seconds(5);
/// For keepers, and for starting workers.
constexpr auto kEndMargin = std::chrono::seconds(10);

constexpr const char* kUnchanged = "Reload refused: everything goes on as before";

ControlOutcome refused(std::vector<std::string> reasons, int code) {
  for (const std::string& reason : reasons) log::error("{}", reason);
  log::error("{}", kUnchanged);
  return {"", kUnchanged, std::move(reasons), code};
}

/// What a stop or drain takes at most: workers are given their time, then killed, and what they had
/// received is stored by others.
std::chrono::microseconds time_to_end(const DaemonConfig& daemon, StopMode mode) {
  const Milliseconds drain = mode == StopMode::kDrain ? daemon.drain_timeout : Milliseconds(0);
  return drain + 3 * daemon.stop_timeout + kEndMargin;
}

RuntimeDir open_runtime_dir(const std::string& root, const std::string& name,
                            const std::optional<UserIds>& user, UniqueFd lock) {
  return lock ? RuntimeDir(root, name, std::move(lock))
              : RuntimeDir(root, name, user ? std::optional(user->uid) : std::nullopt);
}

}  // namespace

Instance::Instance(const Config& config, ConfigSource source, const std::string& runtime_root,
                   std::vector<NamedFd> inherited, ProgramStart start)
    : source_(std::move(source)),
      daemon_(config.daemon),
      adopted_(take_state(std::move(inherited))),
      inherited_(std::move(adopted_.sockets)),
      user_(worker_user(config.daemon.user)),
      worker_executable_(open_worker_program()),
      runtime_dir_(
          open_runtime_dir(runtime_root, config.daemon.name, user_, std::move(adopted_.lock))),
      environment_{loop_, worker_executable_.get(), user_, runtime_dir_.path(),
                   [this] { on_port_changed(); }},
      ports_(environment_),
      upgrade_(loop_, std::move(start), ports_, [this] { return state_to_hand_over(); }),
      control_target_{config.daemon.name, ports_, [this] { return reload(); },
                      [this](StopMode mode) { return stop_on_request(mode); }},
      give_up_(loop_, [this] { loop_.stop(); }),
      signals_(loop_, {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD, SIGPIPE},
               [this](int signal) { on_signal(signal); }) {
  // Keepers whose workers died, and other orphans, come to us instead of staying behind.
  check_call(::prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
  manager_.starting(config.restart.start_timeout + kStartMargin);
  open_control();
  if (adopted_.ports.empty()) {
    Plan plan = ports_.plan(config, inherited_, user_);
    close_useless(inherited_);
    announce(plan);
    ports_.carry_out(std::move(plan));
  } else {
    adopt(config);
  }
}

/// From now on we must not fail: live connections hang on us.
void Instance::adopt(const Config& config) {
  for (Port::Inherited& inherited : std::exchange(adopted_.ports, {})) {
    const Port& port = ports_.adopt(std::move(inherited));
    if (!port.retired()) upgrade_.renew(port);
  }
  log::info("Upgraded to version {}: going on with {} ports", STREAM_SERVERD_VERSION,
            ports_.size());
  try {
    ports_.carry_out(ports_.plan(config, inherited_, user_));
  } catch (const std::exception& error) {
    log::error("{}", error.what());
    log::error("The configuration cannot be applied; the ports go on as they were");
  }
  loop_.defer([this] { reap_children(); });  // who died while there was nobody to hear of it
}

Instance::~Instance() = default;

/// After an upgrade we must not fail, not even where the program before us had no control socket.
void Instance::open_control() {
  const auto answer_line = [this](std::string_view line, const ControlPeer& peer) {
    return answer(control_target_, line, peer);
  };
  if (adopted_.control) {
    control_.emplace(loop_, std::move(adopted_.control), answer_line, Control::Limits());
    return;
  }
  try {
    control_.emplace(loop_, runtime_dir_.path() + "/" + kControlName, answer_line,
                     Control::Limits());
  } catch (const std::system_error& error) {
    if (adopted_.ports.empty()) throw;
    log::error("{}; there is no control socket until a restart", error.what());
  }
}

void Instance::announce(const Plan& plan) const {
  if (plan.ports.empty()) return;
  log::info("Starting server with {} port{} starting from {}", plan.ports.size(),
            plan.ports.size() == 1 ? "" : "s", plan.ports.front().listeners.port);
  warn_of_unused(plan, inherited_);
}

int Instance::run() {
  loop_.run();
  log::info("Server stopped.");
  return kExitOk;
}

void Instance::on_signal(int signal) {
  switch (signal) {
    case SIGCHLD:
      return reap_children();
    case SIGUSR1:
      log::info("Received signal {}, output goes on in new files", signal);
      for (const auto& port : ports_) port->rotate();
      return;
    case SIGHUP:
      log::info("Received signal {}, reloading the configuration", signal);
      reload();
      return;
    case SIGUSR2:
      return upgrade();
    case SIGTERM:
    case SIGINT:
      log::info("Received signal {}, initiating shutdown...", signal);
      return stopping_ ? kill_all() : stop(StopMode::kStop);
    case SIGQUIT:
      log::info("Received signal {}, initiating shutdown...", signal);
      return draining_ || stopping_ ? void() : stop(StopMode::kDrain);
    default:  // SIGPIPE: write(2) says EPIPE
      return;
  }
}

/// The service manager is told when it is over, however it went: refused, all goes on as before.
ControlOutcome Instance::reload() {
  if (!ready_reported_ || draining_) return apply_configuration();
  manager_.reloading();
  ControlOutcome outcome = apply_configuration();
  manager_.ready(status());
  return outcome;
}

/// Nothing is touched until the whole new configuration is known to be good and bound.
ControlOutcome Instance::apply_configuration() {
  if (draining_) return refused({"the instance is shutting down"}, kExitBind);
  const auto parsed = source_();
  if (const auto* errors = std::get_if<ConfigErrors>(&parsed))
    return refused(errors->lines, kExitConfig);
  const Config& config = std::get<Config>(parsed);
  if (config.daemon.name != daemon_.name || config.daemon.user != daemon_.user)
    return refused({"daemon.name and daemon.user can only be changed by a restart"}, kExitConfig);
  try {
    ports_.carry_out(ports_.plan(config, inherited_, user_));
  } catch (const StartFailure& failure) {
    return refused(failure.lines(), failure.code());
  } catch (const std::system_error& error) {
    return refused({error.what()}, kExitSystem);
  }
  daemon_ = config.daemon;
  log::configure(daemon_.log_level, daemon_.log_target);
  log::info("Reloaded");
  return {"Reloaded", "", {}, kExitOk};
}

std::vector<HandedFd> Instance::state_to_hand_over() const {
  std::vector<HandedFd> state = {{"lock", runtime_dir_.lock()}};
  if (control_) state.push_back({"control", control_->listener()});
  for (const NamedFd& item : inherited_) state.push_back({"socket." + item.name, item.fd.get()});
  std::size_t index = 0;
  for (const auto& port : ports_)
    for (HandedFd& item : port->state_to_hand_over(++index)) state.push_back(std::move(item));
  return state;
}

void Instance::upgrade() {
  log::info("Received signal {}, upgrading to {}", SIGUSR2, upgrade_.program());
  if (upgrade_.under_way() || draining_)
    return log::warning("Upgrade ignored: {}", draining_ ? "shutting down" : "one is on its way");
  upgrade_.begin();
}

void Instance::stop(StopMode mode) {
  draining_ = true;
  stopping_ = mode == StopMode::kStop;
  upgrade_.cancel();
  log::info("Shutting down server...");
  manager_.stopping("shutting down", time_to_end(daemon_, mode));
  for (const auto& port : ports_) port->want_down(mode);
  on_port_changed();
}

ControlOutcome Instance::stop_on_request(StopMode mode) {
  const bool drain = mode == StopMode::kDrain;
  if (!stopping_ && !(drain && draining_)) stop(mode);
  return {stopping_ ? "stopping" : "draining", "", {}, kExitOk};
}

void Instance::kill_all() {
  log::warning("Stopping at once; connections are cut");
  for (const auto& port : ports_) port->kill();
  give_up_.arm_in(kKillPatience);
}

/// waitid(2) only to learn which child it is; each is then reaped by its pid, after its last
/// messages were heard.
void Instance::reap_children() {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    Port* port = ports_.of_worker(info.si_pid);
    if (port != nullptr) port->hear_last_words();
    ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
    if (port != nullptr) port->worker_exited(info.si_code, info.si_status);
    upgrade_.on_child_exited(info.si_pid, info.si_code, info.si_status);
  }
}

/// Many ports may change in one turn; one report says it all.
void Instance::on_port_changed() {
  if (std::exchange(report_due_, true)) return;
  loop_.defer([this] {
    report_due_ = false;
    settle_ports();
  });
}

void Instance::settle_ports() {
  ports_.drop_retired();
  if (!draining_) {
    report_status();
    upgrade_.renew_next();
  } else if (ports_.count({PoolState::kDown}) == ports_.size()) {
    loop_.stop();
  }
}

std::string Instance::status() const {
  std::string down;
  for (const auto& port : ports_)
    if (port->state() == PoolState::kBackoff || port->state() == PoolState::kQuarantined)
      down += fmt::format("{} {} ({})", down.empty() ? "; not served:" : ",", port->number(),
                          pool_state_name(port->state()));
  return fmt::format("{} of {} ports up{}", ports_.count({PoolState::kUp}), ports_.size(), down);
}

/// Ready when every port is served or judged.
void Instance::report_status() {
  if (ready_reported_) return manager_.status(status());
  ready_reported_ =
      ports_.count({PoolState::kUp, PoolState::kBackoff, PoolState::kQuarantined}) == ports_.size();
  if (!ready_reported_) return manager_.status(status());
  manager_.ready(status());
  log::info("{}", status());
}

}  // namespace serverd
