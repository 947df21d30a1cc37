#pragma once

#include "common/config.h"
#include "common/loop/loop.h"
#include "supervisor/restart_policy.h"

#include <vector>

namespace serverd {

enum class PoolState { kDown, kStarting, kUp, kDraining, kBackoff, kQuarantined, kCount };
const char* pool_state_name(PoolState state) noexcept;

enum class PoolEvent {
  kWantUp,    ///< the port should be served
  kReady,     ///< the worker reported READY=1
  kExited,    ///< the worker is gone and reaped
  kTimer,     ///< the deadline or delay of the present state is over
  kWantDown,  ///< the port should no longer be served
  kCount
};

/// How a worker that is wanted down ends.
enum class StopMode {
  kStop,     ///< SIGTERM, at most stop_timeout
  kDrain,    ///< SIGQUIT, connections may end by themselves for drain_timeout, then as kStop
  kReplace,  ///< SIGUSR2: leave soon; the next worker goes on with the connections
  kPark,     ///< the same, and the next worker is another daemon's
};

/// How a worker ended.
struct WorkerExit {
  int code = 0;    ///< exit code, if `signal` is 0
  int signal = 0;  ///< that killed it
};

/// What a pool does to the world.
class PoolActions {
 public:
  /// Starts a worker. False if that failed (said in the log): it counts as a death before
  /// readiness.
  virtual bool start_worker() = 0;
  virtual void signal_worker(int signal) = 0;
  /// Sets or replaces the one timer; kTimer follows.
  virtual void arm_timer(Clock::duration delay) = 0;
  virtual void disarm_timer() = 0;
  virtual Clock::time_point now() const = 0;
  /// -1 … 1, for the back-off.
  virtual double jitter() = 0;
  /// The state has changed, or a worker was ended for exceeding a deadline: for log and status.
  virtual void on_state_changed(PoolState from, PoolState to, Clock::duration delay) = 0;
  virtual void on_deadline_exceeded(PoolState state, int signal_sent) = 0;
  /// True while connections of a worker that died wait for the next one.
  virtual bool has_parked() const = 0;
  /// True while the worker is storing bytes, which a slow disk may hold up.
  virtual bool is_writing() const = 0;

 protected:
  ~PoolActions() = default;
};

/// The life of one port's worker, as a table of states and events.
class Pool final {
 public:
  struct Timeouts {
    Milliseconds stop;
    Milliseconds drain;

    bool operator==(const Timeouts&) const = default;
  };

  Pool(const RestartConfig& config, Timeouts timeouts, PoolActions& actions)
      : config_(config), timeouts_(timeouts), actions_(actions) {}

  PoolState state() const noexcept { return state_; }
  unsigned restarts() const noexcept { return restarts_; }

  void want_up() { handle(PoolEvent::kWantUp); }
  void want_down(StopMode mode);
  /// Puts a new worker in the place of the one that runs, with its connections.
  void replace();
  /// New settings, for what comes from now on.
  void configure(const RestartConfig& config, Timeouts timeouts);
  /// Goes on with a worker that runs already. Called first.
  void adopt(bool is_ready);
  /// As a worker that is leaving: `exited` follows, and then the next one is started.
  void adopt_leaving();
  /// The worker has sent WATCHDOG=1.
  void heartbeat();
  /// Ends a worker at once, by SIGKILL, and leaves the port down. What was to be parked still is.
  void kill();
  void ready() { handle(PoolEvent::kReady); }
  void exited(WorkerExit exit);
  void timer() { handle(PoolEvent::kTimer); }

 private:
  using Action = void (Pool::*)();
  static const Action kTable[static_cast<int>(PoolState::kCount)]
                            [static_cast<int>(PoolEvent::kCount)];

  void handle(PoolEvent event);
  void enter(PoolState state, Clock::duration delay = {});

  void ignore() {}
  void start();
  void probe();
  void start_worker();
  void become_up();
  void watchdog_expired();
  void end_when_ready();
  void judge_death();
  void judge(Death death);
  void start_timed_out();
  void begin_end();
  void begin_end(StopMode mode);
  void escalate_end();
  int next_signal() const noexcept;
  void want_up_again() { wanted_ = true; }
  void change_end();
  void ended();
  void go_down();

  RestartConfig config_;
  Timeouts timeouts_;
  PoolActions& actions_;
  PoolState state_ = PoolState::kDown;
  bool wanted_ = false;
  bool probing_ = false;
  StopMode stop_mode_ = StopMode::kStop;
  int last_signal_ = 0;         ///< sent to end the worker
  bool replace_due_ = false;    ///< as soon as the worker is up
  unsigned finishing_ = 0;      ///< workers started only to end connections that were parked
  unsigned patience_used_ = 0;  ///< watchdog intervals granted to a slow disk
  WorkerExit exit_{};
  Clock::time_point ready_since_{};
  std::vector<Death> deaths_;
  unsigned restarts_ = 0;
};

}  // namespace serverd
