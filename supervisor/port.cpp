#include "supervisor/port.h"

#include "common/handoff.h"
#include "common/ledger.h"
#include "common/log.h"
#include "common/os/memfd.h"

#include <fmt/format.h>

#include <csignal>
#include <cstring>
#include <system_error>

#include <sys/wait.h>

namespace serverd {
namespace {

std::string describe_exit(int code, int status) {
  if (code == CLD_EXITED) return fmt::format("exited with code {}", status);
  return fmt::format("was killed by signal {} ({}{})", status, ::strsignal(status),
                     code == CLD_DUMPED ? ", core dumped" : "");
}

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

Port::Port(const PortEnvironment& environment, const Config& config, const ServiceConfig& service,
           PortListeners listeners)
    : environment_(environment),
      title_(fmt::format("stream-worker: {} {}", service.protocol_name(), listeners.addresses())),
      listeners_(std::move(listeners)),
      config_(sealed_text("config", worker_config_text(config, service))),
      ledger_(ledger::create(listeners_.port, service.protocol_name(), service.max_connections)),
      random_(std::random_device{}()),
      timer_(environment.loop, [this] { pool_.timer(); }),
      pool_(config.restart, {config.daemon.stop_timeout, config.daemon.drain_timeout}, *this) {}

Port::~Port() = default;

SpawnRequest Port::spawn_request() const {
  SpawnRequest request{
      environment_.worker_executable, title_, {}, {channel_->variable()}, environment_.user};
  for (const UniqueFd& fd : listeners_.fds)
    request.descriptors.push_back({handoff_name::kListen, fd.get()});
  request.descriptors.push_back({handoff_name::kConfig, config_.get()});
  request.descriptors.push_back({handoff_name::kLedger, ledger_.get()});
  return request;
}

bool Port::start_worker() {
  try {
    const auto owner = environment_.user ? std::optional(environment_.user->uid) : std::nullopt;
    channel_ = std::make_unique<WorkerChannel>(
        environment_.loop,
        fmt::format("{}/notify-{}-{}", environment_.runtime_path, number(), ++generation_), owner,
        [this](std::string_view lines) { on_message(lines); });
    worker_ = spawn(spawn_request());
    channel_->expect(worker_);
    log::debug("Port {}: worker {} started", number(), worker_);
    return true;
  } catch (const std::system_error& error) {
    channel_.reset();
    last_death_ = fmt::format("could not be started: {}", error.what());
    return false;
  }
}

void Port::signal_worker(int signal) {
  // Our child and not reaped yet, so the number cannot mean another process.
  if (worker_ != 0) ::kill(worker_, signal);
}

void Port::rotate() {
  if (state() == PoolState::kUp) signal_worker(SIGUSR1);
}

double Port::jitter() { return std::uniform_real_distribution<double>(-1, 1)(random_); }

void Port::on_message(std::string_view lines) {
  if (has_line(lines, "READY=1")) pool_.ready();
}

void Port::hear_last_words() {
  if (channel_) channel_->receive();
}

void Port::worker_exited(int code, int status) {
  last_death_ = describe_exit(code, status);
  worker_ = 0;
  channel_.reset();
  const bool exited = code == CLD_EXITED;
  pool_.exited({exited ? status : 0, exited ? 0 : status});
}

void Port::on_deadline_exceeded(PoolState state, int signal_sent) {
  if (state == PoolState::kStarting) last_death_ = "was not ready in time";
  log::warning("Port {}: worker {} {}, sent signal {} ({})", number(), worker_,
               state == PoolState::kStarting ? "was not ready in time" : "did not end in time",
               signal_sent, ::strsignal(signal_sent));
}

void Port::on_state_changed(PoolState from, PoolState to, Clock::duration delay) {
  switch (to) {
    case PoolState::kUp:
      if (pool_.restarts() > 0)
        log::info("Port {}: worker {} is up, restart {}", number(), worker_, pool_.restarts());
      else
        log::debug("Port {}: worker {} is up", number(), worker_);
      break;
    case PoolState::kStarting:
      if (from == PoolState::kUp)
        log::warning("Port {}: the worker {}; starting another", number(), last_death_);
      else if (from == PoolState::kQuarantined)
        log::info("Port {}: probing whether a worker can serve it again", number());
      break;
    case PoolState::kBackoff:
      log::warning("Port {}: the worker {}; next start in {:.1f} s", number(), last_death_,
                   seconds(delay));
      break;
    case PoolState::kQuarantined:
      log::error(
          "Port {}: the worker {}; quarantined: it stays bound and is tried again every {:.0f} s",
          number(), last_death_, seconds(delay));
      break;
    case PoolState::kDown:
    case PoolState::kDraining:
    case PoolState::kCount:
      break;
  }
  environment_.on_changed();
}

}  // namespace serverd
