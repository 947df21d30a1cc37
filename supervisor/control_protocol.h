#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <sys/types.h>

/// The words of the control socket: one JSON object on each line, requests one way and replies the
/// other. See stream-serverd(8), CONTROL SOCKET. The daemon and its admin commands share this file.
namespace serverd {

/// Names a connection of the instance: "5000-17" is the 17th that port 5000 accepted.
struct ConnectionId {
  std::uint16_t port = 0;
  std::uint64_t number = 0;

  static std::optional<ConnectionId> parse(std::string_view text);
  std::string to_string() const;
  bool operator==(const ConnectionId&) const = default;
  bool operator<(const ConnectionId& other) const noexcept {
    return port != other.port ? port < other.port : number < other.number;
  }
};

enum class ControlCommand {
  kStatus,
  kLedger,   ///< a port's ledgers, as read-only descriptors
  kKill,     ///< a connection
  kReload,   ///< the configuration
  kStop,     ///< the instance
  kDrain,    ///< the instance
  kRestart,  ///< a port's worker
  kResume,   ///< a port that is held back
  kCount
};
const char* command_name(ControlCommand command) noexcept;

struct ControlRequest {
  ControlCommand command = ControlCommand::kStatus;
  std::uint16_t port = 0;   ///< of kLedger, kRestart, kResume
  ConnectionId connection;  ///< of kKill

  bool operator==(const ControlRequest&) const = default;
};

/// One line, as `{"command":"restart","port":5000}`. What is wrong with it, otherwise. Keys that
/// the command does not know are errors.
std::variant<ControlRequest, std::string> parse_request(std::string_view line);
/// Without line end.
std::string request_text(const ControlRequest& request);

struct PortStatus {
  std::string service;
  std::string protocol;
  std::uint16_t port = 0;
  std::string state;  ///< as pool_state_name
  pid_t worker_pid = 0;
  unsigned generation = 0;
  std::uint64_t restarts = 0;
  std::string last_death;
  std::uint64_t connections = 0;
  std::uint64_t accepted = 0;
  std::uint64_t bytes = 0;
  std::string file;

  bool operator==(const PortStatus&) const = default;
};

struct InstanceStatus {
  std::string name;
  pid_t pid = 0;
  std::uint64_t uptime_s = 0;
  std::vector<PortStatus> ports;

  bool operator==(const InstanceStatus&) const = default;
};

/// Whose ledger a descriptor is.
struct LedgerOwner {
  std::string service;
  std::string protocol;
  std::uint16_t port = 0;
  pid_t worker_pid = 0;

  bool operator==(const LedgerOwner&) const = default;
};

/// What came of a request that asks for something to be done.
struct ControlOutcome {
  std::string message;  ///< what was done
  std::string error;    ///< why it was not; empty: it was
  std::vector<std::string> reasons;
  int code = 0;  ///< exit code for the command that asked

  bool operator==(const ControlOutcome&) const = default;
};

std::string status_text(const InstanceStatus& status);
/// `{"ledgers":[…]}`; the descriptors come with it in the same order.
std::string ledgers_text(const std::vector<LedgerOwner>& owners);
/// `{"ok":true,"message":…}` or `{"error":…,"reasons":[…],"code":…}`; texts are made printable.
std::string outcome_text(const ControlOutcome& outcome);

/// The other way round. A reply that is not of the kind asked for is an outcome; one that is not
/// understood at all is an outcome with an error.
std::variant<InstanceStatus, ControlOutcome> parse_status(std::string_view line);
std::variant<std::vector<LedgerOwner>, ControlOutcome> parse_ledgers(std::string_view line);
ControlOutcome parse_outcome(std::string_view line);

/// A line of `connections`.
struct ConnectionRow {
  std::optional<ConnectionId> id;  ///< none: in the backlog, not accepted yet
  std::string service;
  std::string protocol;
  std::string local;
  std::string peer;
  std::string state;
  std::uint64_t recv_q = 0;
  std::uint64_t send_q = 0;
  pid_t pid = 0;  ///< of the worker; 0: none
  std::uint64_t bytes = 0;
  std::uint64_t age_s = 0;
};
std::string connections_text(const std::vector<ConnectionRow>& rows);

}  // namespace serverd
