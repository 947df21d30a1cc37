#include "supervisor/instance.h"

#include "common/exit_code.h"
#include "common/log.h"
#include "common/os/error.h"
#include "supervisor/inherited.h"
#include "supervisor/own_unit.h"
#include "supervisor/spawn.h"
#include "supervisor/start_failure.h"
#include "supervisor/users.h"
#include "supervisor/worker_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <set>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace serverd {
namespace {

/// A process in uninterruptible sleep does not even take SIGKILL; we do not wait for it forever.
constexpr auto kKillPatience = std::chrono::seconds(1);

/// For systemd's answer, while which nothing else is done.
constexpr auto kBusPatience = std::chrono::milliseconds(500);
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
      environment_{loop_,
                   worker_executable_.get(),
                   user_,
                   runtime_dir_.path(),
                   [this] { on_port_changed(); },
                   [this] { return store_.following(); },
                   [this] { store_.changed(); }},
      ports_(environment_),
      store_(
          loop_, manager_, [this] { return state_to_keep(); }, adopted_.kept),
      upgrade_(loop_, std::move(start), ports_, [this] { return state_to_hand_over(); }),
      control_target_{config.daemon.name, ports_, [this] { return reload(); },
                      [this](StopMode mode) { return stop_on_request(mode); }},
      give_up_(loop_, [this] { loop_.stop(); }),
      signals_(loop_, {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD, SIGPIPE},
               [this](int signal) { on_signal(signal); }) {
  // Keepers whose workers died, and other orphans, come to us instead of staying behind.
  check_call(::prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
  manager_.starting(config.restart.start_timeout + kStartMargin);
  if (daemon_.survive_kill) store_.follow();
  open_control();
  if (adopted_.upgraded)
    adopt(config);
  else
    start_anew(config);
}

/// With what the service manager has kept of the daemon before us, if there is any.
void Instance::start_anew(const Config& config) {
  if (!adopted_.ports.empty())
    log::info("Going on with what was kept of {} ports", adopted_.ports.size());
  for (Port::Inherited& kept : std::exchange(adopted_.ports, {})) ports_.adopt(std::move(kept));
  Plan plan = ports_.plan(config, inherited_, user_);
  for (const std::string& name : close_useless(inherited_)) store_.remove(name);
  for (const std::string& name : adopted_.stale) store_.remove(name);
  announce(plan);
  ports_.carry_out(std::move(plan));
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
    if (!adopted_.upgraded) throw;
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
  if (parking_) store_.hand_over();
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
      if (stopping_) return kill_all();
      return stop(signal == SIGTERM && is_restarted() ? StopMode::kPark : StopMode::kStop);
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
    Plan plan = ports_.plan(config, inherited_, user_);
    follow_in_store(config.daemon.survive_kill);
    ports_.carry_out(std::move(plan));
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

void Instance::follow_in_store(bool on) {
  if (on && !store_.following()) store_.follow();
  if (!on && store_.following()) store_.clear();
}

std::vector<HandedFd> Instance::state_to_hand_over() const {
  std::vector<HandedFd> state = {{"lock", runtime_dir_.lock()}};
  if (control_) state.push_back({"control", control_->listener()});
  for (const NamedFd& item : inherited_) state.push_back({"socket." + item.name, item.fd.get()});
  if (store_.last() > 0) state.push_back({kept_name(store_.last()), runtime_dir_.lock()});
  std::size_t index = 0;
  for (const auto& port : ports_)
    for (HandedFd& item : port->state_to_hand_over(++index)) state.push_back(std::move(item));
  return state;
}

/// Workers do not outlive us, and inherited sockets come back by themselves.
std::vector<HandedFd> Instance::state_to_keep() const {
  std::set<std::uint64_t> inherited;
  for (const NamedFd& item : inherited_) inherited.insert(socket_cookie(item.fd.get()));
  std::vector<HandedFd> state;
  std::size_t index = 0;
  for (const auto& port : ports_)
    for (HandedFd& item : port->state_to_hand_over(++index))
      if (item.name.find(".worker.") == std::string::npos &&
          !inherited.contains(socket_cookie(item.fd)))
        state.push_back(std::move(item));
  return state;
}

void Instance::upgrade() {
  log::info("Received signal {}, upgrading to {}", SIGUSR2, upgrade_.program());
  if (upgrade_.under_way() || draining_)
    return log::warning("Upgrade ignored: {}", draining_ ? "shutting down" : "one is on its way");
  upgrade_.begin();
}

/// Asked only when it matters; in doubt, for a connection that is handed over to nobody still ends.
bool Instance::is_restarted() const {
  if (!store_.usable()) return false;
  const UnitJobAnswer answer = ask_unit_job(kBusPatience);
  if (answer.job == UnitJob::kUnknown)
    log::warning(
        "systemd does not say whether this is a restart ({}); what is connected is handed "
        "over in case it is",
        answer.why);
  return answer.job == UnitJob::kRestart || answer.job == UnitJob::kUnknown;
}

void Instance::stop(StopMode mode) {
  draining_ = true;
  stopping_ = mode != StopMode::kDrain;
  parking_ = mode == StopMode::kPark;
  upgrade_.cancel();
  log::info("{}", parking_ ? "Handing over to the next start..." : "Shutting down server...");
  manager_.stopping(parking_ ? "handing over to the next start" : "shutting down",
                    time_to_end(daemon_, mode));
  if (!parking_) store_.clear();
  for (const auto& port : ports_) port->want_down(mode);
  on_port_changed();
}

ControlOutcome Instance::stop_on_request(StopMode mode) {
  const bool drain = mode == StopMode::kDrain;
  if (!stopping_ && !(drain && draining_)) stop(mode);
  return {stopping_ ? "stopping" : "draining", "", {}, kExitOk};
}

void Instance::kill_all() {
  if (!parking_) log::warning("Stopping at once; connections are cut");
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
    store_.changed();
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
  return fmt::format("{} of {} ports up{}", ports_.count_configured({PoolState::kUp}),
                     ports_.count_configured(), down);
}

/// Ready when every port is served or judged.
void Instance::report_status() {
  if (ready_reported_) return manager_.status(status());
  ready_reported_ = ports_.count_configured({PoolState::kUp, PoolState::kBackoff,
                                             PoolState::kQuarantined}) == ports_.count_configured();
  if (!ready_reported_) return manager_.status(status());
  manager_.ready(status());
  log::info("{}", status());
  // Workers have taken everything out of what was kept.
  if (!store_.following()) store_.clear();
}

}  // namespace serverd
