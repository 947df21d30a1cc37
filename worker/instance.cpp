#include "worker/instance.h"

#include "common/exit_code.h"
#include "common/log.h"
#include "common/os/error.h"
#include "common/os/socket.h"
#include "common/parcel.h"
#include "worker/recover.h"
#include "worker/services.h"
#include "worker/subject.h"
#include "worker/tcp_progress.h"

#include <cstdlib>
#include <ctime>
#include <utility>

#include <unistd.h>

namespace serverd {

using ledger::Cause;
using ledger::Slot;
using ledger::SlotState;

namespace {

constexpr auto kConnectTimeout = std::chrono::seconds(10);
/// For storing what has arrived before leaving; the rest is the successor's.
constexpr auto kLeavePatience = std::chrono::seconds(1);

std::uint64_t realtime_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

/// Set by the supervisor when our predecessor died by its own fault; 0: it did not.
unsigned blame_from_environment() {
  const char* variable = std::getenv(kBlameVariable);
  return variable == nullptr ? 0 : static_cast<unsigned>(std::strtoul(variable, nullptr, 10));
}

}  // namespace

WorkerInstance::WorkerInstance(Handoff handoff, const ServiceConfig& config, SandboxMode sandbox)
    : ledger_(handoff.ledger.get(), Mapping::Access::kReadWrite),
      snapshots_(loop_, notifier_, static_cast<bool>(handoff.parcel_out),
                 [this] { return connection_descriptors(); }),
      port_(static_cast<std::uint16_t>(ledger_.header().port)),
      intake_(ledger_),
      service_(make_service(config, port_, ledger_)),
      idle_timeout_(service_->judges_idleness() ? Milliseconds(0) : config.idle_timeout),
      output_retry_(loop_, [this] { retry_output(); }),
      heartbeat_(loop_, [this] { send_heartbeat(); }),
      signals_(loop_,
               {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, kRequestSignal, SIGCHLD,
                SIGPIPE, SIGXFSZ},
               [this](int signal) { on_signal(signal); }) {
  ++ledger_.header().generation;
  service_->attach(*this);
  enter_sandbox(config, sandbox);
  if (handoff.parcel_out) keeper_.emplace(std::move(handoff.parcel_out));
  std::vector<UniqueFd> parked = unpack(handoff.parcels);
  // From now on the keeper would park them too.
  if (snapshots_.wanted() && keeper_ && !parked.empty()) notifier_.send(kUnpackedMessage);
  recover_connections(std::move(parked));
  honour_requests();
  for (UniqueFd& fd : handoff.listeners)
    listeners_.push_back(std::make_unique<Listener>(
        loop_, std::move(fd), [this](UniqueFd accepted, const SocketAddress& peer) {
          on_accepted(std::move(accepted), peer);
        }));
}

WorkerInstance::~WorkerInstance() = default;

/// Before the keeper, which is to be in it too, and before any connection is ours: should it fail,
/// they are still in their parcels.
void WorkerInstance::enter_sandbox(const ServiceConfig& config, SandboxMode mode) {
  sandbox_ = Sandbox::enter(config, mode, fmt::format("Port {}", port_));
  if (ledger_.header().generation > 1) return;  // said in this port's life already
  for (const std::string& missing : sandbox_.missing())
    log::warning("Port {}: this system has no {}; sandbox = \"required\" would refuse to serve",
                 port_, missing);
}

int WorkerInstance::run() {
  std::vector<SocketAddress> addresses;
  for (const auto& listener : listeners_) addresses.push_back(listener->address());
  service_->on_serving(addresses);
  snapshots_.send();  // the parcels are given up with READY=1
  notifier_.send("READY=1\nSTATUS=serving");
  send_heartbeat();
  loop_.run();
  if (exit_code_ == kExitOk && keeper_) keeper_->dismiss();
  return exit_code_;
}

std::vector<int> WorkerInstance::connection_descriptors() const {
  std::vector<int> descriptors;
  for (const auto& [slot_index, connection] : connections_)
    if (!connection->finished()) descriptors.push_back(connection->fd());
  return descriptors;
}

/// What is in the parcels stays there if others are to go on with it should we and the supervisor
/// die before there is a snapshot. A connection of an old snapshot that has no slot has ended
/// since.
std::vector<UniqueFd> WorkerInstance::unpack(const std::vector<UniqueFd>& parcels) const {
  std::unordered_set<std::uint64_t> in_ledger;
  for (const Slot& slot : ledger_.slots())
    if (slot.state != SlotState::kFree) in_ledger.insert(slot.cookie);
  std::vector<UniqueFd> connections;
  for (const UniqueFd& parcel : parcels)
    for (ParcelMessage& message : snapshots_.wanted() ? look_into_parcel(parcel.get())
                                                      : take_messages_out_of_parcel(parcel.get()))
      for (UniqueFd& fd : message.descriptors)
        if (message.text != kSnapshotText || in_ledger.contains(socket_cookie(fd.get())))
          connections.push_back(std::move(fd));
  return connections;
}

void WorkerInstance::recover_connections(std::vector<UniqueFd> parked) {
  Recovery recovery = recover(ledger_, *service_, std::move(parked), blame_from_environment());
  for (ResumedConnection& resumed : recovery.resumed) {
    // A file that is due at accept was not made yet if the worker died just then.
    Sink* sink = resumed.session->sink();
    if (sink != nullptr && !sink->recorded()) static_cast<void>(sink->open());
    add_connection(std::move(resumed.fd), resumed.slot_index, std::move(resumed.session),
                   Connection::Origin::kResumed);
  }
  ledger_.counters().open = connections_.size();
  collect_free_slots();
  for (UniqueFd& fd : recovery.newcomers) take_newcomer(std::move(fd));
  if (recovery.resumed.empty() && recovery.newcomers.empty() && recovery.lost == 0) return;
  log::info("Port {}: went on with {} connections, {} of them just accepted", port_,
            recovery.resumed.size() + recovery.newcomers.size(), recovery.newcomers.size());
  if (recovery.lost > 0)
    log::error("Port {}: {} connections were lost with the worker before", port_, recovery.lost);
}

/// Accepted by a worker that died before it could note it, or just made by it, to nobody's use.
void WorkerInstance::take_newcomer(UniqueFd fd) {
  if (SocketAddress::local_of(fd.get()).port() != port_) return;
  // A duplicate of one that has ended since it was parked.
  if (snapshots_.wanted() && is_shut_down(fd.get())) return;
  const SocketAddress peer = SocketAddress::peer_of(fd.get()).value_or(SocketAddress());
  on_accepted(std::move(fd), peer);
}

void WorkerInstance::send_heartbeat() {
  if (watchdog_ == std::chrono::microseconds::zero()) return;
  notifier_.send("WATCHDOG=1");
  heartbeat_.arm_in(watchdog_ / 3);
}

void WorkerInstance::collect_free_slots() {
  const auto slots = ledger_.slots();
  for (std::size_t i = slots.size(); i-- > 0;)  // so that the lowest is taken first
    if (slots[i].state == SlotState::kFree) free_slots_.push_back(static_cast<std::uint32_t>(i));
}

void WorkerInstance::on_signal(int signal) {
  switch (signal) {
    case SIGTERM:
    case SIGINT:
      return begin_stop();
    case SIGQUIT:
      return begin_drain();
    case SIGUSR1:
      log::info("Port {} starts a new file with what comes next", port_);
      service_->rotate();
      return leave_if_output_replaced();
    case SIGHUP:  // PR_SET_PDEATHSIG. Nothing is shut down, so that others may go on with it.
      log::error("Port {}: the supervisor is gone, ending", port_);
      exit_code_ = kExitRestart;
      return loop_.stop();
    case SIGUSR2:
      return leave_to_successor();
    case kRequestSignal:
      return honour_requests();
    case SIGCHLD:
      if (keeper_) keeper_->revive_if_dead();
      return;
    default:  // SIGPIPE, SIGXFSZ: the call says EPIPE or EFBIG
      return;
  }
}

/// The keeper parks the connections. Their peers have been told that what they sent arrived, so it
/// is stored first, in case nobody goes on with them.
void WorkerInstance::leave_to_successor() {
  if (std::exchange(exit_code_, kExitRestart) == kExitRestart) return;
  for (const auto& listener : listeners_) listener->pause();
  const Clock::time_point deadline = Clock::now() + kLeavePatience;
  for (auto& [slot_index, connection] : connections_) connection->store_received(deadline);
  if (commit_due_) end_turn();
  if (keeper_) keeper_->renew();
  loop_.stop();
}

void WorkerInstance::leave_if_output_replaced() {
  if (exit_code_ == kExitRestart || !sandbox_.output_replaced()) return;
  log::warning("Port {}: its output directory was replaced; a new worker goes on in the new one",
               port_);
  leave_to_successor();
}

/// A request names the connection it is meant for; one that came too late is for none.
void WorkerInstance::honour_requests() {
  for (auto& [slot_index, connection] : connections_)
    if (connection->slot().request.exchange(0) == connection->slot().id) connection->kill();
}

void WorkerInstance::begin_drain() {
  if (phase_ != Phase::kServing) return;
  phase_ = Phase::kDraining;
  stop_listening();
  exit_if_done();
}

void WorkerInstance::begin_stop() {
  if (phase_ == Phase::kStopping) return;
  stop_listening();
  phase_ = Phase::kStopping;
  for (auto& [slot_index, connection] : connections_) connection->stop_after_received();
  exit_if_done();
}

/// A client whose connection stands in the backlog believes that it is being served and may have
/// sent everything; only what comes after this is refused.
void WorkerInstance::stop_listening() {
  for (const auto& listener : listeners_) listener->accept_backlog();
  loop_.defer([this] { listeners_.clear(); });
  for (const auto& listener : listeners_) listener->pause();
}

void WorkerInstance::exit_if_done() {
  if (phase_ == Phase::kServing || !connections_.empty()) return;
  notifier_.send("STOPPING=1");
  loop_.stop();
}

std::uint32_t WorkerInstance::take_slot() {
  const std::uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  if (!free_slots_.empty()) return index;
  if (!full_logged_)
    log::warning("Port {}: all {} connections are in use, newcomers wait in the backlog", port_,
                 ledger_.slots().size());
  full_logged_ = true;
  for (const auto& listener : listeners_) listener->pause();
  return index;
}

void WorkerInstance::on_accepted(UniqueFd fd, const SocketAddress& peer) {
  if (free_slots_.empty()) return;  // only at a stop, with a full table and a full backlog
  const std::uint32_t index = take_slot();
  Slot& slot = ledger_.slots()[index];
  prepare_socket(fd.get());
  fill_slot(slot, fd.get(), peer);
  log::info(subject_of(slot), "New connection from {} on port {} (peer port {}, connection {})",
            peer.host(), port_, peer.port(), slot.id.load());
  std::unique_ptr<Session> session = service_->open(slot);
  Sink* sink = session->sink();
  const bool no_file = sink != nullptr && !sink->recorded();
  add_connection(std::move(fd), index, std::move(session), Connection::Origin::kAccepted);
  if (service_->waits()) pause_all();
  if (no_file) leave_if_output_replaced();
}

void WorkerInstance::fill_slot(Slot& slot, int fd, const SocketAddress& peer) {
  slot.id = ledger_.header().next_connection_id++;
  slot.descriptor = fd;
  slot.cookie = socket_cookie(fd);
  slot.peer = ledger::PeerAddress::from(peer);
  slot.accepted_at = realtime_ns();
  slot.last_byte_at = 0;
  slot.bytes = 0;
  slot.request = 0;
  for (ledger::Word& word : slot.protocol) word = 0;
  slot.file.state = ledger::FileState::kNone;
  slot.file.name.fill('\0');
  ++ledger_.counters().accepted;
  slot.state.store(SlotState::kOpen, std::memory_order_release);
}

void WorkerInstance::add_connection(UniqueFd fd, std::uint32_t slot_index,
                                    std::unique_ptr<Session> session, Connection::Origin origin) {
  ConnectionHost& host = *this;
  auto connection = std::make_unique<Connection>(loop_, host, intake_, std::move(fd), slot_index,
                                                 ledger_.slots()[slot_index], std::move(session),
                                                 idle_timeout_, origin);
  if (paused_) connection->pause();
  connections_.emplace(slot_index, std::move(connection));
  ledger_.counters().open = connections_.size();
  snapshots_.changed();
}

void WorkerInstance::on_finished(Connection& connection, Cause cause, std::error_code error) {
  const Slot& slot = connection.slot();
  ledger_.count_close(cause);
  stalled_.erase(connection.slot_index());
  const log::Subject subject = subject_of(slot);
  log::info(subject, "Client disconnected from port {} ({}, connection {}, {} bytes, {}{}{})",
            port_, subject.peer, slot.id.load(), slot.bytes.load(), ledger::cause_name(cause),
            error ? ": " : "", error ? error.message() : "");
  if (service_->waits()) pause_all();
  loop_.defer([this, index = connection.slot_index()] {
    close_connection(index);
    ledger_.counters().open = connections_.size();
    ledger_.slots()[index].state.store(SlotState::kFree, std::memory_order_release);
    free_slots_.push_back(index);
    if (free_slots_.size() == 1)
      for (const auto& listener : listeners_) listener->resume();
    // Said again only after some room was made, not each time one leaves and one comes.
    if (free_slots_.size() > ledger_.slots().size() / 16) full_logged_ = false;
    exit_if_done();
  });
}

/// Where there is a duplicate it is shut down, so that the peer learns of it now; one that is to be
/// reset is once the duplicate is closed too.
void WorkerInstance::close_connection(std::uint32_t slot_index) {
  if (snapshots_.wanted()) {
    if (connections_.at(slot_index)->shut_down())
      snapshots_.changed();
    else
      snapshots_.changed_urgently();
  }
  connections_.erase(slot_index);
}

void WorkerInstance::on_stalled(Connection& connection, std::error_code error) {
  if (error != std::errc::resource_unavailable_try_again) {
    const Sink* sink = connection.session().sink();
    if (stalled_.empty())
      say_stalled(sink != nullptr ? sink->path() : fmt::format("Port {}", port_), error);
    stalled_.insert(connection.slot_index());
  }
  if (service_->shares_output()) return pause_all();
  connection.pause();
  wait_for_room();
}

void WorkerInstance::say_stalled(const std::string& what, std::error_code error) {
  ++ledger_.counters().write_errors;
  log::error("{}: {}; reading stops until it can be written again", what, error.message());
  leave_if_output_replaced();
}

void WorkerInstance::on_deferred(Connection& connection) { wake(connection.slot_index()); }

void WorkerInstance::wake(std::uint32_t slot_index) {
  if (awake_.empty() || awake_.back() != slot_index) awake_.push_back(slot_index);
  commit_soon();
}

void WorkerInstance::commit_soon() {
  if (!std::exchange(commit_due_, true)) loop_.defer([this] { end_turn(); });
}

/// One commit for all that the turn has brought; only then do bytes leave their sockets and answers
/// go out.
void WorkerInstance::end_turn() {
  commit_due_ = false;
  const std::vector<std::uint32_t> awake = std::exchange(awake_, {});
  const std::error_code error = service_->commit();
  for (const std::uint32_t index : awake) {
    const auto found = connections_.find(index);
    if (found == connections_.end()) continue;
    if (error)
      found->second->take_back();
    else
      found->second->settle();
  }
  if (error) return on_commit_failed(error);
  if (std::exchange(commit_failing_, false))
    log::info("Port {}: what comes can be stored again", port_);
}

void WorkerInstance::on_commit_failed(std::error_code error) {
  if (!std::exchange(commit_failing_, true)) say_stalled(fmt::format("Port {}", port_), error);
  pause_all();
}

void WorkerInstance::connect(const SocketAddress& address, std::uint64_t token) {
  const auto done = [this, address, token](UniqueFd fd, std::error_code error) {
    loop_.defer([this, token] { attempts_.erase(token); });
    if (error) return service_->on_connect_failed(token, error);
    on_connected(std::move(fd), address, token);
  };
  try {
    attempts_[token] = std::make_unique<ConnectAttempt>(loop_, address, kConnectTimeout, done);
  } catch (const std::system_error& failure) {
    loop_.defer([this, token, error = failure.code()] {
      attempts_.erase(token);
      service_->on_connect_failed(token, error);
    });
  }
}

/// Our own connections have slots like any other.
void WorkerInstance::on_connected(UniqueFd fd, const SocketAddress& peer, std::uint64_t token) {
  if (free_slots_.empty() || phase_ != Phase::kServing)
    return service_->on_connect_failed(token, std::make_error_code(std::errc::no_buffer_space));
  const std::uint32_t index = take_slot();
  Slot& slot = ledger_.slots()[index];
  fill_slot(slot, fd.get(), peer);
  log::info(subject_of(slot), "Connected to {} from port {} (connection {})", peer.to_string(),
            port_, slot.id.load());
  add_connection(std::move(fd), index, service_->open_outgoing(slot, token),
                 Connection::Origin::kAccepted);
}

std::optional<SocketAddress> WorkerInstance::local_address(std::uint32_t slot_index) const {
  const auto found = connections_.find(slot_index);
  return found == connections_.end() ? std::nullopt : found->second->local_address();
}

void WorkerInstance::pause_all() {
  paused_ = true;
  for (auto& [slot_index, connection] : connections_) connection->pause();
  wait_for_room();
}

void WorkerInstance::wait_for_room() {
  if (!output_retry_.armed()) output_retry_.arm_in(service_->retry_interval());
}

void WorkerInstance::retry_output() {
  leave_if_output_replaced();
  if (service_->retry()) return wait_for_room();
  paused_ = false;
  for (auto& [slot_index, connection] : connections_) connection->resume();
}

void WorkerInstance::on_progress(Connection& connection) {
  if (stalled_.erase(connection.slot_index()) == 0 || !stalled_.empty()) return;
  log::info("Port {}: output can be written again, reading goes on", port_);
}

}  // namespace serverd
