#include "supervisor/port.h"

#include "common/handoff.h"
#include "common/ledger.h"
#include "common/log.h"
#include "common/parcel.h"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>

#include <sys/wait.h>

namespace serverd {
namespace {

/// A keeper parks thousands of connections in milliseconds. One that takes longer may be stopped.
constexpr auto kKeeperPatience = std::chrono::milliseconds(500);
/// Then the port goes on without the connections that it did not park.
constexpr auto kKeeperDeadline = std::chrono::seconds(5);

constexpr std::size_t kMaxConfigSize = std::size_t{1} << 20;

std::string describe_exit(int code, int status) {
  if (code == CLD_EXITED) return fmt::format("exited with code {}", status);
  return fmt::format("was killed by signal {} ({}{})", status, ::strsignal(status),
                     code == CLD_DUMPED ? ", core dumped" : "");
}

/// Signals that a process brings upon itself.
bool is_own_fault(WorkerExit exit) {
  switch (exit.signal) {
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGABRT:
    case SIGSYS:
      return true;
    default:
      return false;
  }
}

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

PortSettings PortSettings::from(const Config& config, const ServiceConfig& service) {
  return {config.restart,
          {config.daemon.stop_timeout, config.daemon.drain_timeout},
          service.name,
          service.protocol_name(),
          output_directory(service),
          service.max_connections,
          worker_config_text(config, service),
          config.daemon.survive_kill};
}

Port::Port(const PortEnvironment& environment, PortSettings settings, PortListeners listeners)
    : environment_(environment),
      settings_(std::move(settings)),
      listeners_(std::move(listeners)),
      config_(sealed_text("config", settings_.worker_config)),
      ledger_(ledger::create(listeners_.port, settings_.protocol, settings_.max_connections)),
      figures_(std::in_place, ledger_.get(), Mapping::Access::kRead),
      keeper_deadline_(environment.loop, [this] { on_keeper_late(); }),
      random_(std::random_device{}()),
      timer_(environment.loop, [this] { pool_.timer(); }),
      pool_(settings_.restart, settings_.timeouts, *this) {}

Port::Port(const PortEnvironment& environment, Inherited inherited)
    : environment_(environment),
      listeners_{inherited.port, std::move(inherited.listeners)},
      config_(std::move(inherited.config)),
      ledger_(std::move(inherited.ledger)),
      worker_(inherited.worker),
      generation_(inherited.generation),
      retired_(inherited.retired),
      parcel_(std::move(inherited.parcel)),
      parcels_(std::move(inherited.parcels)),
      snapshot_(std::move(inherited.snapshot)),
      keeper_deadline_(environment.loop, [this] { on_keeper_late(); }),
      random_(std::random_device{}()),
      timer_(environment.loop, [this] { pool_.timer(); }),
      pool_(RestartConfig{}, {Milliseconds(5'000), Milliseconds(30'000)}, *this) {
  settings_.worker_config = read_all(config_.get(), kMaxConfigSize);
  read_settings_from_ledger();
  const auto parsed = parse_config(settings_.worker_config, "config", ConfigUse::kWorker);
  if (const auto* config = std::get_if<Config>(&parsed)) {
    settings_.service = config->services.front().name;
    settings_.output = output_directory(config->services.front());
  }
  if (worker_ == 0) {
    if (snapshot_) parcels_.push_back(std::move(snapshot_));
    pool_.adopt_leaving();
    environment_.loop.defer([this] { await_parcel(); });
    return;
  }
  channel_ = std::make_unique<WorkerChannel>(
      environment_.loop, std::move(inherited.channel),
      [this](std::string_view lines, std::vector<UniqueFd> descriptors) {
        on_message(lines, std::move(descriptors));
      });
  channel_->expect(worker_);
  pool_.adopt(inherited.ready);
}

Port::~Port() = default;

/// One that its worker has spoilt is no reason to stop: the worker may serve on, and whoever
/// follows it refuses the ledger.
void Port::read_settings_from_ledger() {
  try {
    figures_.emplace(ledger_.get(), Mapping::Access::kRead);
    settings_.protocol = figures_->header().protocol_name();
    settings_.max_connections = static_cast<unsigned>(figures_->slots().size());
  } catch (const std::exception& error) {
    log::error(subject(), "Port {}: {}", number(), error.what());
  }
}

std::vector<HandedFd> Port::state_to_hand_over(std::size_t index) const {
  std::vector<HandedFd> handed;
  const std::string port =
      retired_ ? fmt::format("retired.{}.{}", number(), index) : fmt::format("port.{}", number());
  const auto add = [&](const std::string& role, int fd) {
    if (fd >= 0) handed.push_back({fmt::format("{}.{}", port, role), fd});
  };
  for (const UniqueFd& fd : listeners_.fds) add("listen", fd.get());
  add("config", config_.get());
  add("ledger", ledger_.get());
  add("parcel", parcel_.get());
  for (const UniqueFd& fd : parcels_) add("parked", fd.get());
  add("snapshot", snapshot_.get());
  if (worker_ != 0)
    add(fmt::format("worker.{}.{}.{}", worker_, generation_,
                    pool_.state() == PoolState::kStarting ? "starting" : "ready"),
        channel_->fd());
  return handed;
}

log::Subject Port::subject() const { return {.service = settings_.service, .port = number()}; }

std::string Port::title() const {
  // A port that was removed listens nowhere any more.
  return fmt::format("stream-worker: {} {}", settings_.protocol,
                     retired_ ? fmt::format(":{}", number()) : listeners_.addresses());
}

std::string Port::channel_path() const {
  return fmt::format("{}/notify-{}-{}", environment_.runtime_path, number(), generation_);
}

std::optional<uid_t> Port::worker_uid() const {
  return environment_.user ? std::optional(environment_.user->uid) : std::nullopt;
}

SpawnRequest Port::spawn_request(int parcel_out) const {
  SpawnRequest request{
      environment_.worker_executable, title(), {}, {channel_->variable()}, environment_.user};
  request.net_raw = settings_.protocol == "packets";
  for (const UniqueFd& fd : listeners_.fds)
    request.descriptors.push_back({handoff_name::kListen, fd.get()});
  request.descriptors.push_back({handoff_name::kConfig, config_.get()});
  request.descriptors.push_back({handoff_name::kLedger, ledger_.get()});
  request.descriptors.push_back({handoff_name::kParcelOut, parcel_out});
  for (const UniqueFd& fd : parcels_)
    request.descriptors.push_back({handoff_name::kParcel, fd.get()});
  if (settings_.restart.watchdog > Milliseconds(0))
    request.variables.push_back(fmt::format(
        "WATCHDOG_USEC={}", std::chrono::microseconds(settings_.restart.watchdog).count()));
  if (environment_.wants_snapshots())
    request.variables.push_back(fmt::format("{}=1", kStoreVariable));
  if (last_death_was_own_fault_)
    request.variables.push_back(
        fmt::format("{}={}", kBlameVariable, settings_.restart.blame_after));
  return request;
}

bool Port::start_worker() {
  try {
    ++generation_;
    renew_ledger();
    if (!environment_.wants_snapshots()) snapshot_.reset();  // a worker that closes, ends
    channel_ = std::make_unique<WorkerChannel>(
        environment_.loop, channel_path(), worker_uid(),
        [this](std::string_view lines, std::vector<UniqueFd> descriptors) {
          on_message(lines, std::move(descriptors));
        });
    Parcel parcel = make_parcel();
    worker_ = spawn(spawn_request(parcel.entrance.get()));
    parcel_ = std::move(parcel.held);
    channel_->expect(worker_);
    log::debug(subject(), "Port {}: worker {} started", number(), worker_);
    return true;
  } catch (const std::exception& error) {
    channel_.reset();
    last_death_ = fmt::format("could not be started: {}", error.what());
    return false;
  }
}

/// Between two workers, when nobody writes to it.
void Port::renew_ledger() {
  if (!std::exchange(ledger_outdated_, false)) return;
  ledger_ = ledger::resized_copy(ledger_.get(), settings_.max_connections);
  figures_.emplace(ledger_.get(), Mapping::Access::kRead);
}

void Port::signal_worker(int signal) {
  // Our child and not reaped yet, so the number cannot mean another process.
  if (worker_ != 0) ::kill(worker_, signal);
}

void Port::rotate() {
  if (state() == PoolState::kUp) signal_worker(SIGUSR1);
}

bool Port::reset_connection(std::uint64_t id) {
  if (!ledger::request_reset(ledger_.get(), id)) return false;
  signal_worker(kRequestSignal);
  return true;
}

bool Port::configure(PortSettings settings, PortListeners listeners) {
  const bool worker_concerned = settings.worker_config != settings_.worker_config ||
                                settings.max_connections != settings_.max_connections ||
                                settings.restart.watchdog != settings_.restart.watchdog ||
                                settings.survive_kill != settings_.survive_kill ||
                                listeners.addresses() != listeners_.addresses();
  if (!worker_concerned && settings == settings_) return false;
  ledger_outdated_ = ledger_outdated_ || settings.max_connections != settings_.max_connections;
  if (settings.worker_config != settings_.worker_config)
    config_ = sealed_text("config", settings.worker_config);
  settings_ = std::move(settings);
  pool_.configure(settings_.restart, settings_.timeouts);
  if (!worker_concerned) return true;
  listeners_ = std::move(listeners);
  if (state() == PoolState::kQuarantined || state() == PoolState::kBackoff)
    pool_.want_up();  // what was wrong with it may have been mended
  else
    pool_.replace();
  return true;
}

void Port::retire() {
  retired_ = true;
  // The worker takes what stands in the backlog before it closes its own.
  listeners_.fds.clear();
  // Whoever has to end what was parked is started first.
  if (state() == PoolState::kDown && has_parked()) pool_.want_up();
  want_down(StopMode::kDrain);
}

double Port::jitter() { return std::uniform_real_distribution<double>(-1, 1)(random_); }

bool Port::is_writing() const {
  return figures_ && figures_->intent().state != ledger::IntentState::kNone;
}

void Port::on_message(std::string_view lines, std::vector<UniqueFd> descriptors) {
  if (has_line(lines, "FDSTORE=1") && descriptors.size() == 1 &&
      is_parcel(descriptors.front().get())) {
    snapshot_ = std::move(descriptors.front());
    environment_.on_snapshot();
  }
  if (has_line(lines, "READY=1")) {
    parcels_.clear();  // it has taken everything out
    pool_.ready();
  }
  if (has_line(lines, kUnpackedMessage)) unpacked_ = true;
  if (has_line(lines, "WATCHDOG=1")) pool_.heartbeat();
}

void Port::hear_last_words() {
  if (channel_) channel_->receive();
}

void Port::worker_exited(int code, int status) {
  const bool exited = code == CLD_EXITED;
  last_exit_ = {exited ? status : 0, exited ? 0 : status};
  last_death_was_own_fault_ = is_own_fault(last_exit_);
  if (state() != PoolState::kDraining) count_death(describe_exit(code, status));
  late_group_ = std::exchange(worker_, 0);
  channel_.reset();
  await_parcel();
}

/// Nobody else writes to the ledger now.
void Port::count_death(std::string how) {
  last_death_ = std::move(how);
  try {
    ++ledger::Ledger(ledger_.get(), Mapping::Access::kReadWrite).counters().deaths;
  } catch (const std::exception& error) {
    log::error(subject(), "Port {}: {}", number(), error.what());
  }
}

/// The parcel is complete when the dead worker's keeper has exited, which closes its entrance.
void Port::await_parcel() {
  if (!parcel_ || parcel_complete(parcel_.get())) return settle_parcel();
  keeper_warned_ = false;
  keeper_deadline_.arm_in(kKeeperPatience);
  parcel_watch_ =
      std::make_unique<Watch>(environment_.loop, parcel_.get(), POLLRDHUP, [this](short) {
        if (!parcel_complete(parcel_.get())) return;
        parcel_watch_->want(0);
        environment_.loop.defer([this] { settle_parcel(); });
      });
}

/// The keeper is in its worker's process group, whose number is not given away while it lives.
void Port::on_keeper_late() {
  if (!std::exchange(keeper_warned_, true)) {
    log::warning(subject(), "Port {}: the keeper of {} takes long, waking it", number(),
                 last_worker());
    signal_late_group(SIGCONT);
    return keeper_deadline_.arm_in(kKeeperDeadline);
  }
  log::error(subject(), "Port {}: the keeper of {} does not finish, going on without it", number(),
             last_worker());
  signal_late_group(SIGKILL);
  settle_parcel();
}

std::string Port::last_worker() const {
  return late_group_ > 0 ? fmt::format("worker {}", late_group_) : "the daemon's before us";
}

void Port::signal_late_group(int signal) const {
  if (late_group_ > 0) ::kill(-late_group_, signal);
}

void Port::settle_parcel() {
  keeper_deadline_.disarm();
  parcel_watch_.reset();
  // What the dead worker had of them is in its own now.
  if (std::exchange(unpacked_, false) && parcel_ && parcel_filled(parcel_.get())) parcels_.clear();
  std::erase_if(parcels_, [](const UniqueFd& parcel) { return !parcel_filled(parcel.get()); });
  if (parcel_ && parcel_filled(parcel_.get())) parcels_.push_back(std::move(parcel_));
  parcel_.reset();
  pool_.exited(last_exit_);
}

/// Probing does not help then.
void Port::explain_unusable_ledger() const {
  try {
    const ledger::Ledger ledger(ledger_.get(), Mapping::Access::kRead);
  } catch (const std::exception& error) {
    log::error(
        subject(),
        "Port {}: its ledger is of no use to any worker ({}); what is stored stays as it is. For a "
        "new ledger, which ends the port's present connections: remove the port from the "
        "configuration and reload, then add it and reload; or restart stream-serverd",
        number(), error.what());
  }
}

void Port::on_deadline_exceeded(PoolState state, int signal_sent) {
  const char* what = state == PoolState::kStarting   ? "was not ready in time"
                     : state == PoolState::kDraining ? "did not end in time"
                                                     : "hangs (watchdog)";
  log::warning(subject(), "Port {}: worker {} {}, sent signal {} ({})", number(), worker_, what,
               signal_sent, ::strsignal(signal_sent));
}

void Port::on_state_changed(PoolState from, PoolState to, Clock::duration delay) {
  switch (to) {
    case PoolState::kUp:
      if (generation_ > 1)
        log::info(subject(), "Port {}: worker {} is up, restart {}", number(), worker_,
                  generation_ - 1);
      else
        log::debug(subject(), "Port {}: worker {} is up", number(), worker_);
      break;
    case PoolState::kStarting:
      if (from == PoolState::kUp)
        log::warning(subject(), "Port {}: the worker {}; starting another", number(), last_death_);
      else if (from == PoolState::kQuarantined)
        log::info(subject(), "Port {}: probing whether a worker can serve it again", number());
      break;
    case PoolState::kBackoff:
      log::warning(subject(), "Port {}: the worker {}; next start in {:.1f} s", number(),
                   last_death_, seconds(delay));
      break;
    case PoolState::kQuarantined:
      log::error(
          subject(),
          "Port {}: the worker {}; quarantined: it stays bound and is tried again every {:.0f} s",
          number(), last_death_, seconds(delay));
      explain_unusable_ledger();
      break;
    case PoolState::kDown:
      if (has_parked() && !parking_)
        log::error(
            subject(),
            "Port {}: connections of a dead worker are given up, with what they had received",
            number());
      break;
    case PoolState::kDraining:
    case PoolState::kCount:
      break;
  }
  environment_.on_changed();
}

}  // namespace serverd
