#pragma once

#include "common/config.h"
#include "common/handoff.h"
#include "common/loop/loop.h"
#include "common/loop/signals.h"
#include "common/notify.h"
#include "supervisor/port.h"
#include "supervisor/runtime_dir.h"

#include <memory>
#include <string>
#include <vector>

namespace serverd {

/// Receives the sockets that a service manager handed over and moves them, and everything that is
/// opened from then on, away from the descriptor numbers that workers' hand-overs use. The first
/// thing a daemon does. Throws HandoffError, std::system_error.
std::vector<NamedFd> take_inherited();

/// The daemon: owns loop, signals, runtime directory and ports.
class Instance final {
 public:
  /// Binds everything before it starts anything. `inherited`: sockets for "systemd:NAME", see
  /// take_inherited. Throws StartFailure, InstanceRunning, std::system_error.
  Instance(const Config& config, const std::string& runtime_root, std::vector<NamedFd> inherited);
  ~Instance();

  /// Serves until told to stop. Returns the exit code.
  int run();

 private:
  void add_ports(const Config& config, const ServiceConfig& service, BindResult bound);

  void on_signal(int signal);
  void stop(StopMode mode);
  void kill_all();
  void reap_children();
  Port* port_of_worker(pid_t pid) noexcept;
  void on_port_changed();
  void report_status();

  Loop loop_;
  Notifier notifier_ = Notifier::from_environment();
  std::optional<UserIds> user_;
  UniqueFd worker_executable_;
  RuntimeDir runtime_dir_;
  PortEnvironment environment_;
  std::vector<std::unique_ptr<Port>> ports_;
  bool ready_reported_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  bool report_due_ = false;
  Timer give_up_;
  Signals signals_;
};

}  // namespace serverd
