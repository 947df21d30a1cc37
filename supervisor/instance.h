#pragma once

#include "common/config.h"
#include "common/handoff.h"
#include "common/loop/loop.h"
#include "common/loop/signals.h"
#include "common/notify.h"
#include "supervisor/port.h"
#include "supervisor/reexec.h"
#include "supervisor/runtime_dir.h"
#include "supervisor/supervisor_state.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace serverd {

/// Receives the sockets that a service manager handed over and moves them, and everything that is
/// opened from then on, away from the descriptor numbers that workers' hand-overs use. The first
/// thing a daemon does. Throws HandoffError, std::system_error.
std::vector<NamedFd> take_inherited();

/// `--adopt-check`: finds out whether this program could go on with what `inherited` holds, without
/// changing anything. Throws as Instance does.
void check_adoption(const Config& config, std::vector<NamedFd> inherited);

/// The daemon: owns loop, signals, runtime directory and ports.
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
  /// Sockets for all that a configuration asks for; nothing is changed yet.
  struct Plan {
    struct Item {
      PortSettings settings;
      PortListeners listeners;
    };
    std::vector<Item> ports;
  };

  /// Throws StartFailure; nothing has been changed then, but directories may have been made.
  Plan make_plan(const Config& config);
  void carry_out(Plan plan);
  void adopt(const Config& config);
  void announce(const Plan& plan) const;
  UniqueFd have_listener(const SocketAddress& address) const;
  Port* find_port(std::uint16_t number) noexcept;

  void on_signal(int signal);
  void reload();
  std::vector<HandedFd> state_to_hand_over() const;
  void check_upgrade();
  void on_upgrade_checked(int code, int status);
  void upgrade();
  void refuse_upgrade(const std::string& why);
  void renew_workers();
  void stop(StopMode mode);
  void kill_all();
  void reap_children();
  Port* port_of_worker(pid_t pid) noexcept;
  void on_port_changed();
  void settle_ports();
  void report_status();
  std::ptrdiff_t count(std::initializer_list<PoolState> states) const;

  Loop loop_;
  Notifier notifier_ = Notifier::from_environment();
  ConfigSource source_;
  ProgramStart start_;
  DaemonConfig daemon_;
  SupervisorState adopted_;         ///< moved away during construction
  std::vector<NamedFd> inherited_;  ///< sockets for "systemd:NAME"
  std::optional<UserIds> user_;
  UniqueFd worker_executable_;
  RuntimeDir runtime_dir_;
  PortEnvironment environment_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<std::pair<std::uint16_t, unsigned>> to_renew_;  ///< port and generation
  pid_t upgrade_check_ = 0;
  bool ready_reported_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  bool report_due_ = false;
  Timer give_up_;
  Timer upgrade_timer_;
  Signals signals_;
};

}  // namespace serverd
