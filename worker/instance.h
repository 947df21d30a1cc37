#pragma once

#include "common/config.h"
#include "common/handoff.h"
#include "common/ledger.h"
#include "common/loop/loop.h"
#include "common/loop/signals.h"
#include "common/notify.h"
#include "worker/connect_attempt.h"
#include "worker/connection.h"
#include "worker/intake.h"
#include "worker/keeper.h"
#include "worker/listener.h"
#include "worker/sandbox/sandbox.h"
#include "worker/service_host.h"
#include "worker/session.h"
#include "worker/snapshots.h"

#include <chrono>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace serverd {

/// One port's worker: owns its loop, listeners, connections and service.
class WorkerInstance final : ConnectionHost, ServiceHost {
 public:
  /// `handoff.ledger` must be set. Enters the sandbox, then recovers what earlier workers left.
  /// Throws std::system_error, ledger::LedgerError, SandboxUnavailable.
  WorkerInstance(Handoff handoff, const ServiceConfig& config, SandboxMode sandbox);
  ~WorkerInstance();

  /// Reports readiness and serves until told to end. Returns the exit code. kExitRestart: the
  /// process must end without closing anything, for its successor goes on with the connections.
  int run();

 private:
  enum class Phase {
    kServing,
    kDraining,  ///< no more accepts; connections end by themselves
    kStopping   ///< connections end when what they have received is stored
  };

  void enter_sandbox(const ServiceConfig& config, SandboxMode mode);
  void on_signal(int signal);
  void leave_to_successor();
  void leave_if_output_replaced();
  void begin_drain();
  void begin_stop();
  void stop_listening();
  void exit_if_done();
  void honour_requests();

  void on_accepted(UniqueFd fd, const SocketAddress& peer);
  void add_connection(UniqueFd fd, std::uint32_t slot_index, std::unique_ptr<Session> session,
                      Connection::Origin origin);
  void close_connection(std::uint32_t slot_index);
  std::uint32_t take_slot();
  void fill_slot(ledger::Slot& slot, int fd, const SocketAddress& peer);

  void on_finished(Connection& connection, ledger::Cause cause, std::error_code error) override;
  void on_stalled(Connection& connection, std::error_code error) override;
  void on_progress(Connection& connection) override;
  void on_deferred(Connection& connection) override;
  void say_stalled(const std::string& what, std::error_code error);
  void pause_all();
  void wait_for_room();
  void retry_output();

  Loop& loop() noexcept override { return loop_; }
  void commit_soon() override;
  void wake(std::uint32_t slot_index) override;
  void connect(const SocketAddress& address, std::uint64_t token) override;
  std::optional<SocketAddress> local_address(std::uint32_t slot_index) const override;
  void end_turn();
  void on_commit_failed(std::error_code error);
  void on_connected(UniqueFd fd, const SocketAddress& peer, std::uint64_t token);

  std::vector<int> connection_descriptors() const;
  std::vector<UniqueFd> unpack(const std::vector<UniqueFd>& parcels) const;
  void collect_free_slots();
  void recover_connections(std::vector<UniqueFd> parked);
  void take_newcomer(UniqueFd fd);
  void send_heartbeat();

  Loop loop_;
  Notifier notifier_ = Notifier::from_environment();
  ledger::Ledger ledger_;
  Sandbox sandbox_;
  Snapshots snapshots_;
  std::optional<Keeper> keeper_;  ///< before anything can be accepted; none without a supervisor
  std::uint16_t port_;
  Intake intake_;
  std::unique_ptr<Service> service_;
  Milliseconds idle_timeout_;  ///< of connections
  std::vector<std::uint32_t> free_slots_;
  std::unordered_map<std::uint32_t, std::unique_ptr<Connection>> connections_;  ///< by slot
  std::vector<std::unique_ptr<Listener>> listeners_;
  Phase phase_ = Phase::kServing;
  bool paused_ = false;  ///< output that all share is failing, nothing is read
  std::unordered_set<std::uint32_t> stalled_;  ///< slots whose output has failed
  bool full_logged_ = false;
  bool commit_due_ = false;
  bool commit_failing_ = false;
  std::vector<std::uint32_t> awake_;  ///< slots whose connections look after the commit
  std::unordered_map<std::uint64_t, std::unique_ptr<ConnectAttempt>> attempts_;  ///< by token
  int exit_code_ = 0;
  Timer output_retry_;
  std::chrono::microseconds watchdog_ = take_watchdog_interval();
  Timer heartbeat_;
  Signals signals_;
};

}  // namespace serverd
