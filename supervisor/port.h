#pragma once

#include "common/config.h"
#include "common/loop/loop.h"
#include "supervisor/listeners.h"
#include "supervisor/pool.h"
#include "supervisor/spawn.h"
#include "supervisor/worker_channel.h"

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>

namespace serverd {

/// What every port of an instance uses; must outlive them.
struct PortEnvironment {
  Loop& loop;
  int worker_executable;  ///< descriptor
  std::optional<UserIds> user;
  std::string runtime_path;          ///< where notify sockets go
  std::function<void()> on_changed;  ///< some port's state has changed
};

/// One port: its listening sockets and its ledger, which stay for the port's whole life, and the
/// worker that serves it now.
class Port final : PoolActions {
 public:
  /// Throws std::system_error.
  Port(const PortEnvironment& environment, const Config& config, const ServiceConfig& service,
       PortListeners listeners);
  ~Port();

  std::uint16_t number() const noexcept { return listeners_.port; }
  PoolState state() const noexcept { return pool_.state(); }
  pid_t worker() const noexcept { return worker_; }

  void want_up() { pool_.want_up(); }
  void want_down(StopMode mode) { pool_.want_down(mode); }
  void kill() { pool_.kill(); }
  /// USR1.
  void rotate();

  /// Before the worker, which has exited, is reaped: hears its last messages.
  void hear_last_words();
  /// After it was reaped, with what waitid(2) said.
  void worker_exited(int code, int status);

 private:
  bool start_worker() override;
  void signal_worker(int signal) override;
  void arm_timer(Clock::duration delay) override { timer_.arm_in(delay); }
  void disarm_timer() override { timer_.disarm(); }
  Clock::time_point now() const override { return environment_.loop.now(); }
  double jitter() override;
  void on_state_changed(PoolState from, PoolState to, Clock::duration delay) override;
  void on_deadline_exceeded(PoolState state, int signal_sent) override;

  void on_message(std::string_view lines);
  SpawnRequest spawn_request() const;

  const PortEnvironment& environment_;
  std::string title_;
  PortListeners listeners_;
  UniqueFd config_;
  UniqueFd ledger_;
  std::unique_ptr<WorkerChannel> channel_;
  pid_t worker_ = 0;  ///< 0: none
  unsigned generation_ = 0;
  std::string last_death_;
  std::minstd_rand random_;
  Timer timer_;
  Pool pool_;
};

}  // namespace serverd
