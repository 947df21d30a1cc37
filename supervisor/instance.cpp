#include "supervisor/instance.h"

#include "common/exit_code.h"
#include "common/log.h"
#include "common/os/error.h"
#include "common/os/limits.h"
#include "supervisor/output_dirs.h"
#include "supervisor/spawn.h"
#include "supervisor/start_failure.h"
#include "supervisor/users.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace serverd {
namespace {

namespace fs = std::filesystem;

/// A process in uninterruptible sleep does not even take SIGKILL; we do not wait for it forever.
constexpr auto kKillPatience = std::chrono::seconds(1);
constexpr auto kUpgradeCheckPatience = std::chrono::seconds(10);
constexpr auto kUpgradeRetryDelay = std::chrono::milliseconds(50);

/// Beside ourselves (a build tree), else where it is installed.
UniqueFd open_worker_executable() {
  const fs::path own = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path candidates[] = {own / "stream-worker",
                                 own.parent_path() / "libexec/stream-serverd/stream-worker",
                                 STREAM_SERVERD_LIBEXECDIR "/stream-serverd/stream-worker"};
  for (const fs::path& path : candidates) {
    UniqueFd fd = UniqueFd::adopt(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (fd && ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0) return fd;
  }
  throw StartFailure(
      kExitSystem,
      fmt::format("the worker program is missing: neither {} nor {} nor {} "
                  "can be executed",
                  candidates[0].string(), candidates[1].string(), candidates[2].string()));
}

/// Out of what was inherited: the state of the supervisor that this process was before an upgrade.
/// Sockets of the service manager come in it too.
SupervisorState take_state(std::vector<NamedFd> inherited) {
  for (const NamedFd& item : inherited)
    if (item.name == handoff_name::kSupervisorState) return unpack_state(item.fd.get());
  SupervisorState none;
  none.sockets = std::move(inherited);
  return none;
}

RuntimeDir open_runtime_dir(const std::string& root, const std::string& name,
                            const std::optional<UserIds>& user, UniqueFd lock) {
  return lock ? RuntimeDir(root, name, std::move(lock))
              : RuntimeDir(root, name, user ? std::optional(user->uid) : std::nullopt);
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

}  // namespace

std::vector<NamedFd> take_inherited() {
  std::vector<NamedFd> inherited = receive_descriptors();
  for (NamedFd& item : inherited)
    item.fd = UniqueFd::adopt(
        check_call(::fcntl(item.fd.get(), F_DUPFD_CLOEXEC, 3 + kMaxHandedDescriptors),
                   "dup of inherited socket " + item.name));
  reserve_handoff_numbers();
  return inherited;
}

void check_adoption(const Config& config, std::vector<NamedFd> inherited) {
  worker_user(config.daemon.user);
  open_worker_executable();
  const SupervisorState state = take_state(std::move(inherited));
  if (!state.lock) throw HandoffError("supervisor state: nothing was handed over");
}

Instance::Instance(const Config& config, ConfigSource source, const std::string& runtime_root,
                   std::vector<NamedFd> inherited, ProgramStart start)
    : source_(std::move(source)),
      start_(std::move(start)),
      daemon_(config.daemon),
      adopted_(take_state(std::move(inherited))),
      inherited_(std::move(adopted_.sockets)),
      user_(worker_user(config.daemon.user)),
      worker_executable_(open_worker_executable()),
      runtime_dir_(
          open_runtime_dir(runtime_root, config.daemon.name, user_, std::move(adopted_.lock))),
      environment_{loop_, worker_executable_.get(), user_, runtime_dir_.path(),
                   [this] { on_port_changed(); }},
      give_up_(loop_, [this] { loop_.stop(); }),
      upgrade_timer_(loop_, [this] { upgrade(); }),
      signals_(loop_, {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD, SIGPIPE},
               [this](int signal) { on_signal(signal); }) {
  raise_descriptor_limit();
  // Keepers whose workers died, and other orphans, come to us instead of staying behind.
  check_call(::prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
  if (adopted_.ports.empty()) {
    Plan plan = make_plan(config);
    announce(plan);
    carry_out(std::move(plan));
  } else {
    adopt(config);
  }
}

/// From now on we must not fail: live connections hang on us.
void Instance::adopt(const Config& config) {
  for (Port::Inherited& inherited : std::exchange(adopted_.ports, {})) {
    ports_.push_back(std::make_unique<Port>(environment_, std::move(inherited)));
    to_renew_.emplace_back(ports_.back()->number(), ports_.back()->generation());
  }
  log::info("Upgraded to version {}: going on with {} ports", STREAM_SERVERD_VERSION,
            ports_.size());
  try {
    carry_out(make_plan(config));
  } catch (const std::exception& error) {
    log::error("{}", error.what());
    log::error("The configuration cannot be applied; the ports go on as they were");
  }
  loop_.defer([this] { reap_children(); });  // who died while there was nobody to hear of it
}

Instance::~Instance() = default;

/// All failures are said in one run.
Instance::Plan Instance::make_plan(const Config& config) {
  Plan plan;
  std::vector<std::string> failures;
  for (const ServiceConfig& service : config.services) {
    BindResult bound = bind_listeners(service, inherited_, [this](const SocketAddress& address) {
      return have_listener(address);
    });
    failures.insert(failures.end(), bound.failures.begin(), bound.failures.end());
    const PortSettings settings = PortSettings::from(config, service);
    for (PortListeners& listeners : bound.ports) {
      // The config's own ports cannot overlap; inherited ones show what they are only now.
      for (const Plan::Item& other : plan.ports)
        if (other.listeners.port == listeners.port)
          failures.push_back(fmt::format("service {}: port {} is served by another service already",
                                         service.name, listeners.port));
      plan.ports.push_back({settings, std::move(listeners)});
    }
  }
  if (!failures.empty() && (!config.daemon.skip_bind_failures || plan.ports.empty()))
    throw StartFailure(kExitBind, joined(failures));
  for (const std::string& failure : failures) log::error("{}; going on without", failure);
  for (const ServiceConfig& service : config.services) prepare_output(service, user_);
  return plan;
}

UniqueFd Instance::have_listener(const SocketAddress& address) const {
  for (const auto& port : ports_)
    for (const UniqueFd& fd : port->listeners().fds)
      if (SocketAddress::local_of(fd.get()) == address) return duplicate(fd.get());
  return {};
}

void Instance::announce(const Plan& plan) const {
  if (plan.ports.empty()) return;
  log::info("Starting server with {} port{} starting from {}", plan.ports.size(),
            plan.ports.size() == 1 ? "" : "s", plan.ports.front().listeners.port);
  for (const NamedFd& item : inherited_) {
    const std::uint64_t cookie = socket_cookie(item.fd.get());
    const bool used =
        std::any_of(plan.ports.begin(), plan.ports.end(), [&](const Plan::Item& planned) {
          return std::any_of(planned.listeners.fds.begin(), planned.listeners.fds.end(),
                             [&](const UniqueFd& fd) { return socket_cookie(fd.get()) == cookie; });
        });
    if (!used) log::warning("Inherited socket '{}' is not used by any service", item.name);
  }
}

void Instance::carry_out(Plan plan) {
  for (const auto& port : ports_) {
    const bool wanted =
        std::any_of(plan.ports.begin(), plan.ports.end(),
                    [&](const Plan::Item& item) { return item.listeners.port == port->number(); });
    if (wanted || port->retired()) continue;
    log::info("Port {} is no longer configured: it accepts nothing more and drains",
              port->number());
    port->retire();
  }
  for (Plan::Item& item : plan.ports) {
    Port* port = find_port(item.listeners.port);
    if (port != nullptr) {
      if (port->configure(std::move(item.settings), std::move(item.listeners)))
        log::info("Port {} takes new settings", port->number());
      continue;
    }
    for (const UniqueFd& fd : item.listeners.fds)
      log::info("Listening on {}", SocketAddress::local_of(fd.get()).to_string());
    ports_.push_back(
        std::make_unique<Port>(environment_, std::move(item.settings), std::move(item.listeners)));
    ports_.back()->want_up();
  }
}

/// A port that is draining because it was removed has nothing to do with one of the same number
/// that is configured now.
Port* Instance::find_port(std::uint16_t number) noexcept {
  const auto found = std::find_if(ports_.begin(), ports_.end(), [&](const auto& port) {
    return port->number() == number && !port->retired();
  });
  return found == ports_.end() ? nullptr : found->get();
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
      return reload();
    case SIGUSR2:
      return check_upgrade();
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

/// Nothing is touched until the whole new configuration is known to be good and bound.
void Instance::reload() {
  log::info("Received signal {}, reloading the configuration", SIGHUP);
  if (draining_) return log::warning("Reload refused: shutting down");
  const auto refuse = [](const std::string& why) {
    log::error("{}", why);
    log::error("Reload refused: everything goes on as before");
  };
  const auto parsed = source_();
  if (const auto* errors = std::get_if<ConfigErrors>(&parsed)) {
    for (const std::string& line : errors->lines) log::error("{}", line);
    return log::error("Reload refused: everything goes on as before");
  }
  const Config& config = std::get<Config>(parsed);
  if (config.daemon.name != daemon_.name || config.daemon.user != daemon_.user)
    return refuse("daemon.name and daemon.user can only be changed by a restart");
  try {
    carry_out(make_plan(config));
  } catch (const StartFailure& failure) {
    return refuse(failure.what());
  } catch (const std::system_error& error) {
    return refuse(error.what());
  }
  daemon_ = config.daemon;
  log::configure(daemon_.log_level, daemon_.log_target);
  log::info("Reloaded");
}

std::vector<HandedFd> Instance::state_to_hand_over() const {
  std::vector<HandedFd> state = {{"lock", runtime_dir_.lock()}};
  for (const NamedFd& item : inherited_) state.push_back({"socket." + item.name, item.fd.get()});
  for (const auto& port : ports_)
    for (HandedFd& item : port->state_to_hand_over()) state.push_back(std::move(item));
  return state;
}

void Instance::refuse_upgrade(const std::string& why) {
  upgrade_check_ = 0;
  upgrade_timer_.disarm();
  log::error("Upgrade refused: {}; everything goes on as before", why);
}

/// First the new program is asked whether it could take over what there really is.
void Instance::check_upgrade() {
  log::info("Received signal {}, upgrading to {}", SIGUSR2, start_.path);
  if (upgrade_check_ != 0 || draining_)
    return log::warning("Upgrade ignored: {}", draining_ ? "shutting down" : "one is on its way");
  try {
    const UniqueFd program = UniqueFd::adopt(
        check_call(::open(start_.path.c_str(), O_PATH | O_CLOEXEC), "open " + start_.path));
    const UniqueFd state = pack_state(state_to_hand_over());
    SpawnRequest request{
        program.get(),   start_.path, {{handoff_name::kSupervisorState, state.get()}}, {}, {},
        start_.arguments};
    request.arguments.push_back("--adopt-check");
    upgrade_check_ = spawn(request);
    upgrade_timer_.arm_in(kUpgradeCheckPatience);
  } catch (const std::system_error& error) {
    refuse_upgrade(error.what());
  }
}

void Instance::on_upgrade_checked(int code, int status) {
  upgrade_timer_.disarm();
  if (code != CLD_EXITED || status != kExitOk)
    return refuse_upgrade(fmt::format("the new program cannot take over ({} {})",
                                      code == CLD_EXITED ? "exit code" : "signal", status));
  upgrade_check_ = 0;
  upgrade();
}

/// The timer's: a check that hangs is ended, an upgrade that had to wait is tried again.
void Instance::upgrade() {
  if (upgrade_check_ != 0) {
    ::kill(upgrade_check_, SIGKILL);
    return;
  }
  const bool settled =
      std::all_of(ports_.begin(), ports_.end(), [](const auto& port) { return port->settled(); });
  if (!settled) return upgrade_timer_.arm_in(kUpgradeRetryDelay);
  try {
    const UniqueFd state = pack_state(state_to_hand_over());
    refuse_upgrade(
        fmt::format("exec {}: {}", start_.path, error_text(reexec(start_, state.get()))));
  } catch (const std::system_error& error) {
    refuse_upgrade(error.what());
  }
}

/// After an upgrade: one at a time, so that trouble with the new worker shows at one port only.
void Instance::renew_workers() {
  while (!to_renew_.empty()) {
    const auto [number, generation] = to_renew_.back();
    Port* port = find_port(number);
    if (port != nullptr && port->state() == PoolState::kUp && port->generation() == generation)
      return port->replace();
    const bool on_its_way = port != nullptr && (port->state() == PoolState::kStarting ||
                                                port->state() == PoolState::kDraining);
    if (on_its_way) return;
    to_renew_.pop_back();
    if (to_renew_.empty()) log::info("Upgrade complete: every worker runs the new program");
  }
}

void Instance::stop(StopMode mode) {
  draining_ = true;
  stopping_ = mode == StopMode::kStop;
  log::info("Shutting down server...");
  notifier_.send("STOPPING=1\nSTATUS=shutting down");
  for (const auto& port : ports_) port->want_down(mode);
  on_port_changed();
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
    Port* port = port_of_worker(info.si_pid);
    if (port != nullptr) port->hear_last_words();
    ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
    if (port != nullptr) port->worker_exited(info.si_code, info.si_status);
    if (info.si_pid == upgrade_check_) on_upgrade_checked(info.si_code, info.si_status);
  }
}

Port* Instance::port_of_worker(pid_t pid) noexcept {
  const auto found = std::find_if(ports_.begin(), ports_.end(),
                                  [&](const auto& port) { return port->worker() == pid; });
  return found == ports_.end() ? nullptr : found->get();
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
  std::erase_if(ports_, [](const auto& port) {
    return port->retired() && port->state() == PoolState::kDown;
  });
  if (!draining_) {
    report_status();
    renew_workers();
  } else if (count({PoolState::kDown}) == static_cast<std::ptrdiff_t>(ports_.size())) {
    loop_.stop();
  }
}

std::ptrdiff_t Instance::count(std::initializer_list<PoolState> states) const {
  return std::count_if(ports_.begin(), ports_.end(), [&](const auto& port) {
    return std::find(states.begin(), states.end(), port->state()) != states.end();
  });
}

void Instance::report_status() {
  const auto total = static_cast<std::ptrdiff_t>(ports_.size());
  const auto up = count({PoolState::kUp});
  std::string down;
  for (const auto& port : ports_)
    if (port->state() == PoolState::kBackoff || port->state() == PoolState::kQuarantined)
      down += fmt::format("{} {} ({})", down.empty() ? "; not served:" : ",", port->number(),
                          pool_state_name(port->state()));
  // Ready when every port is served or judged.
  const bool ready = ready_reported_ ||
                     count({PoolState::kUp, PoolState::kBackoff, PoolState::kQuarantined}) == total;
  notifier_.send(fmt::format("{}STATUS={} of {} ports up{}",
                             ready && !ready_reported_ ? "READY=1\n" : "", up, total, down));
  if (ready && !ready_reported_) log::info("{} of {} ports up{}", up, total, down);
  ready_reported_ = ready;
}

}  // namespace serverd
