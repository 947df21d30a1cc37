#pragma once

#include "common/config.h"
#include "common/handoff.h"
#include "common/loop/loop.h"
#include "common/loop/signals.h"
#include "supervisor/control.h"
#include "supervisor/control_answers.h"
#include "supervisor/ports.h"
#include "supervisor/reexec.h"
#include "supervisor/runtime_dir.h"
#include "supervisor/service_manager.h"
#include "supervisor/store.h"
#include "supervisor/supervisor_state.h"
#include "supervisor/upgrade.h"

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace serverd {

/// The daemon: owns loop, signals, runtime directory, control socket and ports.
class Instance final {
 public:
  /// Where the configuration comes from, each time it is asked for.
  using ConfigSource = std::function<std::variant<Config, ConfigErrors>()>;

  /// Binds everything before it starts anything. `inherited`: what take_inherited gave. Throws
  /// StartFailure, InstanceRunning, std::system_error.
  Instance(const Config& config, ConfigSource source, const std::string& runtime_root,
           std::vector<NamedFd> inherited, ProgramStart start);
  ~Instance();

  /// Serves until told to stop. Returns the exit code.
  int run();

 private:
  void start_anew(const Config& config);
  void adopt(const Config& config);
  void announce(const Plan& plan) const;

  void open_control();

  void on_signal(int signal);
  ControlOutcome reload();
  ControlOutcome apply_configuration();
  std::vector<HandedFd> state_to_hand_over() const;
  std::vector<HandedFd> state_to_keep() const;
  void follow_in_store(bool on);
  void upgrade();
  void stop(StopMode mode);
  bool is_restarted() const;
  ControlOutcome stop_on_request(StopMode mode);
  void kill_all();
  void reap_children();
  void on_port_changed();
  void settle_ports();
  std::string status() const;
  void report_status();

  Loop loop_;
  ServiceManager manager_{loop_};
  ConfigSource source_;
  DaemonConfig daemon_;
  SupervisorState adopted_;         ///< moved away during construction
  std::vector<NamedFd> inherited_;  ///< sockets for "systemd:NAME"
  std::optional<UserIds> user_;
  UniqueFd worker_executable_;
  RuntimeDir runtime_dir_;
  PortEnvironment environment_;
  Ports ports_;
  Store store_;
  Upgrade upgrade_;
  ControlTarget control_target_;
  std::optional<Control> control_;
  bool ready_reported_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  bool parking_ = false;
  bool report_due_ = false;
  Timer give_up_;
  Signals signals_;
};

}  // namespace serverd
