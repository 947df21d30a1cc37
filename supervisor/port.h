#pragma once

#include "common/config.h"
#include "common/ledger.h"
#include "common/log.h"
#include "common/loop/loop.h"
#include "common/os/memfd.h"
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
#include <vector>

namespace serverd {

/// What every port of an instance uses; must outlive them.
struct PortEnvironment {
  Loop& loop;
  int worker_executable;  ///< descriptor
  std::optional<UserIds> user;
  std::string runtime_path;          ///< where notify sockets go
  std::function<void()> on_changed;  ///< some port's state has changed
  /// Whether workers are to give us duplicates of their connections, and that one has.
  std::function<bool()> wants_snapshots = [] { return false; };
  std::function<void()> on_snapshot = [] {};
};

/// What a port is to do.
struct PortSettings {
  RestartConfig restart;
  Pool::Timeouts timeouts;
  std::string service;
  std::string protocol;
  std::string output;  ///< directory
  unsigned max_connections;
  std::string worker_config;  ///< for the worker's `config` descriptor
  bool survive_kill = true;   ///< connections are to survive the supervisor's death

  static PortSettings from(const Config& config, const ServiceConfig& service);
  bool operator==(const PortSettings&) const = default;
};

/// One port: its listening sockets and its ledger, which stay for the port's whole life, the
/// worker that serves it now, and the connections of workers that died.
class Port final : PoolActions {
 public:
  /// Throws std::system_error.
  Port(const PortEnvironment& environment, PortSettings settings, PortListeners listeners);
  /// What a supervisor before us, that was upgraded or restarted, had of this port; descriptors by
  /// role.
  struct Inherited {
    std::uint16_t port = 0;
    bool retired = false;  ///< was removed, and drains
    pid_t worker = 0;      ///< 0: none
    bool ready = false;
    unsigned generation = 0;
    std::vector<UniqueFd> listeners;
    UniqueFd config;
    UniqueFd ledger;
    UniqueFd channel;
    UniqueFd parcel;    ///< of the running worker
    UniqueFd snapshot;  ///< its last
    std::vector<UniqueFd> parcels;
  };
  /// Goes on with a port and its running worker, or starts one from the loop, after the last one
  /// has left. Its settings are those that `configure` gives.
  Port(const PortEnvironment& environment, Inherited inherited);
  ~Port();

  std::uint16_t number() const noexcept { return listeners_.port; }
  /// For events that concern this port.
  log::Subject subject() const;
  PoolState state() const noexcept { return pool_.state(); }
  pid_t worker() const noexcept { return worker_; }
  bool retired() const noexcept { return retired_; }
  const std::string& protocol() const noexcept { return settings_.protocol; }
  const PortListeners& listeners() const noexcept { return listeners_; }
  const PortSettings& settings() const noexcept { return settings_; }
  /// Both of the same ledger, which may be another one after the next start of a worker. Whatever
  /// is in it was written by the worker. `figures` is null for one that cannot be read.
  int ledger() const noexcept { return ledger_.get(); }
  const ledger::Ledger* figures() const noexcept { return figures_ ? &*figures_ : nullptr; }
  /// How the last worker that nobody had told to end has ended; empty if none has.
  const std::string& last_death() const noexcept { return last_death_; }

  void want_up() { pool_.want_up(); }
  void want_down(StopMode mode) {
    parking_ = mode == StopMode::kPark;
    pool_.want_down(mode);
  }
  void kill() { pool_.kill(); }
  /// Puts a new worker in the place of the one that runs, with its connections.
  void replace() { pool_.replace(); }
  unsigned generation() const noexcept { return generation_; }
  /// False while a dead worker's connections are still being parked.
  bool settled() const noexcept { return parcel_watch_ == nullptr; }
  /// Takes new settings and sockets. The worker is replaced, with its connections, if it is
  /// concerned by what has changed. True if anything has.
  bool configure(PortSettings settings, PortListeners listeners);
  /// No longer configured: accepts nothing more, and drains.
  void retire();
  /// USR1.
  void rotate();
  /// Has the worker reset a connection; the next one does it if there is none now. False if there
  /// is no such connection. Throws std::system_error, ledger::LedgerError.
  bool reset_connection(std::uint64_t id);

  /// Before the worker, which has exited, is reaped: hears its last messages.
  void hear_last_words();
  /// After it was reaped, with what waitid(2) said.
  void worker_exited(int code, int status);

  /// What an upgraded supervisor needs, borrowed, named as `Inherited` is read back. `index` tells
  /// apart ports of one number, of which all but one are retired; it counts from 1.
  std::vector<HandedFd> state_to_hand_over(std::size_t index) const;

 private:
  bool start_worker() override;
  void signal_worker(int signal) override;
  void arm_timer(Clock::duration delay) override { timer_.arm_in(delay); }
  void disarm_timer() override { timer_.disarm(); }
  Clock::time_point now() const override { return environment_.loop.now(); }
  double jitter() override;
  void on_state_changed(PoolState from, PoolState to, Clock::duration delay) override;
  void on_deadline_exceeded(PoolState state, int signal_sent) override;
  bool has_parked() const override { return !parcels_.empty(); }
  bool is_writing() const override;

  std::string title() const;
  std::string channel_path() const;
  std::optional<uid_t> worker_uid() const;
  void on_message(std::string_view lines, std::vector<UniqueFd> descriptors);
  SpawnRequest spawn_request(int parcel_out) const;
  void renew_ledger();
  void read_settings_from_ledger();
  void explain_unusable_ledger() const;
  void count_death(std::string how);

  void await_parcel();
  void on_keeper_late();
  std::string last_worker() const;
  void signal_late_group(int signal) const;
  void settle_parcel();

  const PortEnvironment& environment_;
  PortSettings settings_;
  PortListeners listeners_;
  UniqueFd config_;
  UniqueFd ledger_;
  std::optional<ledger::Ledger> figures_;  ///< the same, mapped to be read
  std::unique_ptr<WorkerChannel> channel_;
  pid_t worker_ = 0;  ///< 0: none
  unsigned generation_ = 0;
  bool retired_ = false;
  bool unpacked_ = false;         ///< the worker has what was in `parcels_`
  bool parking_ = false;          ///< connections are left to the next daemon
  bool ledger_outdated_ = false;  ///< its size is not the configured one
  bool last_death_was_own_fault_ = false;
  std::string last_death_;
  WorkerExit last_exit_{};

  UniqueFd parcel_;                ///< which the present worker's keeper will fill
  std::vector<UniqueFd> parcels_;  ///< filled, and not taken out by a worker that became ready
  UniqueFd snapshot_;              ///< a worker's connections of a moment ago; empty: none
  std::unique_ptr<Watch> parcel_watch_;
  pid_t late_group_ = 0;  ///< process group of a dead worker, in which its keeper is
  bool keeper_warned_ = false;
  Timer keeper_deadline_;

  std::minstd_rand random_;
  Timer timer_;
  Pool pool_;
};

}  // namespace serverd
