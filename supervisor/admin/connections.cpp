#include "supervisor/admin/connections.h"

#include "common/exit_code.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <unordered_map>

#include <time.h>

namespace serverd {
namespace {

using ledger::Slot;

struct Known {
  const PortLedger* port;
  const Slot* slot;
};

/// By cookie. Neither slots nor cookies are believed to be right, only read.
using KnownConnections = std::unordered_map<std::uint64_t, Known>;

KnownConnections known_connections(const std::vector<PortLedger>& ledgers) {
  KnownConnections known;
  for (const PortLedger& port : ledgers)
    port.ledger.for_each_open([&](std::size_t /*index*/, const Slot& slot) {
      known.insert_or_assign(slot.cookie, Known{&port, &slot});
      return true;
    });
  return known;
}

ConnectionRow row_of(const Known& known, std::uint64_t now_ns) {
  const LedgerOwner& owner = known.port->owner;
  ConnectionRow row;
  row.id = ConnectionId{owner.port, known.slot->id};
  row.service = owner.service;
  row.protocol = owner.protocol;
  row.pid = owner.worker_pid;
  row.bytes = known.slot->bytes;
  const std::uint64_t accepted_at = known.slot->accepted_at;
  row.age_s = accepted_at < now_ns ? (now_ns - accepted_at) / 1'000'000'000 : 0;
  return row;
}

void add_socket(ConnectionRow& row, const TcpSocket& socket) {
  row.local = socket.local.to_string();
  row.peer = socket.peer.to_string();
  row.state = tcp_state_name(socket.state);
  row.recv_q = socket.recv_q;
  row.send_q = socket.send_q;
}

/// Of what the kernel no longer knows.
void add_remembered(ConnectionRow& row, const Slot& slot) {
  row.local = fmt::format("*:{}", row.id->port);
  row.peer = slot.peer.to_address().to_string();
  row.state = "CLOSE";
}

bool waits_in_backlog(const TcpSocket& socket) {
  constexpr std::uint8_t kEstablished = 1;
  constexpr std::uint8_t kCloseWait = 8;
  return socket.inode == 0 && (socket.state == kEstablished || socket.state == kCloseWait);
}

const LedgerOwner* owner_of(std::uint16_t port, const std::vector<PortLedger>& ledgers) {
  const auto found = std::find_if(ledgers.begin(), ledgers.end(),
                                  [&](const PortLedger& item) { return item.owner.port == port; });
  return found == ledgers.end() ? nullptr : &found->owner;
}

bool is_peer(const std::string& peer, const std::string& wanted) {
  if (peer == wanted) return true;
  const std::string host = peer.substr(0, peer.rfind(':'));
  return host == wanted || host == "[" + wanted + "]";
}

std::uint64_t realtime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

Colour colour_of(const std::string& state) {
  if (state == "ESTABLISHED") return Colour::kGreen;
  return state == "CLOSE" ? Colour::kRed : Colour::kYellow;
}

std::vector<std::uint16_t> ports_to_show(const InstanceStatus& status,
                                         const AdminOptions& options) {
  std::set<std::uint16_t> ports;
  for (const PortStatus& port : status.ports)
    if ((options.port == 0 || port.port == options.port) &&
        (options.service.empty() || port.service == options.service))
      ports.insert(port.port);
  return {ports.begin(), ports.end()};
}

std::vector<PortLedger> fetch_ledgers(ControlClient& client,
                                      const std::vector<std::uint16_t>& ports) {
  std::vector<PortLedger> fetched;
  for (const std::uint16_t port : ports) {
    ControlClient::Ledgers ledgers = client.ledgers(port);
    for (std::size_t i = 0; i < ledgers.owners.size(); ++i)
      fetched.push_back({std::move(ledgers.owners[i]),
                         ledger::Ledger(ledgers.descriptors[i].get(), Mapping::Access::kRead)});
  }
  return fetched;
}

}  // namespace

std::vector<ConnectionRow> join_connections(const std::vector<PortLedger>& ledgers,
                                            const std::function<std::vector<TcpSocket>()>& dump,
                                            std::uint64_t now_ns) {
  KnownConnections known = known_connections(ledgers);
  std::vector<ConnectionRow> rows;
  for (const TcpSocket& socket : dump()) {
    const auto found = known.find(socket.cookie);
    if (found != known.end()) {
      rows.push_back(row_of(found->second, now_ns));
      add_socket(rows.back(), socket);
      known.erase(found);
    } else if (waits_in_backlog(socket)) {
      const LedgerOwner* owner = owner_of(socket.local.port(), ledgers);
      if (owner == nullptr) continue;
      rows.emplace_back();
      rows.back().service = owner->service;
      rows.back().protocol = owner->protocol;
      add_socket(rows.back(), socket);
    }
  }
  for (const auto& [cookie, item] : known) {
    if (item.slot->state != ledger::SlotState::kOpen || item.slot->cookie != cookie) continue;
    rows.push_back(row_of(item, now_ns));
    add_remembered(rows.back(), *item.slot);
  }
  std::sort(rows.begin(), rows.end(),
            [](const ConnectionRow& a, const ConnectionRow& b) { return a.id < b.id; });
  return rows;
}

void filter_connections(std::vector<ConnectionRow>& rows, const AdminOptions& options) {
  if (options.peer.empty()) return;
  std::erase_if(rows, [&](const ConnectionRow& row) { return !is_peer(row.peer, options.peer); });
}

std::string connections_table(const std::vector<ConnectionRow>& rows, TableStyle style) {
  Table table({{"Proto"},
               {"Recv-Q", true},
               {"Send-Q", true},
               {"Local Address"},
               {"Foreign Address"},
               {"State"},
               {"PID/Program"},
               {"ID"},
               {"Service"},
               {"Bytes", true},
               {"Age", true}});
  for (const ConnectionRow& row : rows) {
    const std::string proto = row.local.starts_with('[') ? "tcp6" : "tcp";
    table.add({proto, std::to_string(row.recv_q), std::to_string(row.send_q), row.local, row.peer,
               Table::Cell(row.state, colour_of(row.state)),
               row.pid == 0 ? "-" : fmt::format("{}/stream-worker", row.pid),
               row.id ? row.id->to_string() : "-", row.service, std::to_string(row.bytes),
               duration_text(row.age_s)});
  }
  return table.text(style);
}

int show_connections(ControlClient& client, const AdminOptions& options) {
  const std::vector<std::uint16_t> ports = ports_to_show(client.status(), options);
  const std::vector<PortLedger> ledgers = fetch_ledgers(client, ports);
  std::vector<ConnectionRow> rows = join_connections(
      ledgers, [&] { return dump_tcp_sockets(ports); }, realtime_ns());
  filter_connections(rows, options);
  const std::string text =
      options.json ? connections_text(rows) + "\n" : connections_table(rows, style_of_stdout());
  fmt::print("{}", text);
  return kExitOk;
}

}  // namespace serverd
