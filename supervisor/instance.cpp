#include "supervisor/instance.h"

#include "common/exit_code.h"
#include "common/log.h"
#include "common/os/error.h"
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
#include <sys/resource.h>
#include <sys/wait.h>

namespace serverd {
namespace {

namespace fs = std::filesystem;

/// A process in uninterruptible sleep does not even take SIGKILL; we do not wait for it forever.
constexpr auto kKillPatience = std::chrono::seconds(1);

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

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

/// Every service's sockets, bound before anything is started. All failures are said in one run.
std::vector<BindResult> bind_all(const Config& config, std::vector<NamedFd> inherited) {
  std::vector<BindResult> bound;
  std::vector<std::string> failures;
  std::size_t ports = 0;
  for (const ServiceConfig& service : config.services) {
    bound.push_back(bind_listeners(service, inherited));
    ports += bound.back().ports.size();
    failures.insert(failures.end(), bound.back().failures.begin(), bound.back().failures.end());
  }
  for (const NamedFd& item : inherited)
    if (item.fd) log::warning("Inherited socket '{}' is not used by any service", item.name);
  if (!failures.empty() && (!config.daemon.skip_bind_failures || ports == 0))
    throw StartFailure(kExitBind, joined(failures));
  for (const std::string& failure : failures) log::error("{}; going on without", failure);
  return bound;
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

Instance::Instance(const Config& config, const std::string& runtime_root,
                   std::vector<NamedFd> inherited)
    : user_(worker_user(config.daemon.user)),
      worker_executable_(open_worker_executable()),
      runtime_dir_(runtime_root, config.daemon.name,
                   user_ ? std::optional(user_->uid) : std::nullopt),
      environment_{loop_, worker_executable_.get(), user_, runtime_dir_.path(),
                   [this] { on_port_changed(); }},
      give_up_(loop_, [this] { loop_.stop(); }),
      signals_(loop_, {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGCHLD, SIGPIPE},
               [this](int signal) { on_signal(signal); }) {
  raise_descriptor_limit();
  // Orphaned grandchildren come to us instead of staying behind.
  check_call(::prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
  std::vector<BindResult> bound = bind_all(config, std::move(inherited));
  for (const ServiceConfig& service : config.services) prepare_output(service, user_);
  for (std::size_t i = 0; i < config.services.size(); ++i)
    add_ports(config, config.services[i], std::move(bound[i]));
}

Instance::~Instance() = default;

void Instance::add_ports(const Config& config, const ServiceConfig& service, BindResult bound) {
  if (bound.ports.empty()) return;
  log::info("Starting server with {} port{} starting from {} (service {}, {})", bound.ports.size(),
            bound.ports.size() == 1 ? "" : "s", bound.ports.front().port, service.name,
            service.protocol_name());
  for (PortListeners& listeners : bound.ports) {
    for (const UniqueFd& fd : listeners.fds)
      log::info("Listening on {}", SocketAddress::local_of(fd.get()).to_string());
    ports_.push_back(std::make_unique<Port>(environment_, config, service, std::move(listeners)));
  }
}

int Instance::run() {
  for (const auto& port : ports_) port->want_up();
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
    report_status();
  });
}

void Instance::report_status() {
  const auto count = [this](auto... states) {
    return std::count_if(ports_.begin(), ports_.end(),
                         [=](const auto& port) { return (... || (port->state() == states)); });
  };
  const auto total = static_cast<std::ptrdiff_t>(ports_.size());
  if (draining_) {
    if (count(PoolState::kDown) == total) loop_.stop();
    return;
  }
  const auto up = count(PoolState::kUp);
  std::string down;
  for (const auto& port : ports_)
    if (port->state() == PoolState::kBackoff || port->state() == PoolState::kQuarantined)
      down += fmt::format("{} {} ({})", down.empty() ? "; not served:" : ",", port->number(),
                          pool_state_name(port->state()));
  // Ready when every port is served or judged.
  const auto judged = count(PoolState::kUp, PoolState::kBackoff, PoolState::kQuarantined);
  const bool ready = ready_reported_ || judged == total;
  notifier_.send(fmt::format("{}STATUS={} of {} ports up{}",
                             ready && !ready_reported_ ? "READY=1\n" : "", up, total, down));
  if (ready && !ready_reported_) log::info("{} of {} ports up{}", up, total, down);
  ready_reported_ = ready;
}

}  // namespace serverd
