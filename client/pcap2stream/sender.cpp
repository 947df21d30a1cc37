#include "client/pcap2stream/sender.h"

#include "common/os/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

namespace serverd::pcap2stream {

Sender::Sender(Loop& loop, Console& console, Target target, const Timeouts& timeouts,
               const Limits& limits, std::function<void()> changed)
    : loop_(loop),
      console_(console),
      target_(std::move(target)),
      timeouts_(timeouts),
      limits_(limits),
      changed_(std::move(changed)),
      next_port_(target_.base_port) {}

void Sender::open(const IpAddress& source) {
  const auto [entry, is_new] = connections_.try_emplace(source);
  if (!is_new) return;
  entry->second.source = source.to_string();
  connect(entry->second);
}

void Sender::connect(Connection& connection) {
  if (next_port_ > UINT16_MAX) {
    connection.server = fmt::format("{} port {}", target_.host, next_port_);
    report_failure(connection, "the last port is 65535");
    return;
  }
  connection.port = static_cast<std::uint16_t>(next_port_);
  const auto server = SocketAddress::from_host(target_.host, connection.port);
  connection.server = server ? server->to_string() : target_.host;
  try {
    if (!server) throw_system_error(EADDRNOTAVAIL, target_.host);
    connection.outgoing = std::make_unique<Outgoing>(
        loop_, *server, timeouts_, [this, &connection] { on_change(connection); });
    connecting_ = true;
  } catch (const std::system_error& error) {
    report_failure(connection, error.code().message());
  }
}

void Sender::on_change(Connection& connection) {
  using State = Outgoing::State;
  const State state = connection.outgoing->state();
  if (!connection.reported && state != State::kConnecting) {
    connecting_ = false;
    if (state != State::kFailed) {
      connection.reported = true;
      ++next_port_;
      console_.result(fmt::format("New connection established for {} to {}", connection.source,
                                  connection.server));
      connection.outgoing->flush();
    }
  }
  settle(connection);
  changed_();
}

void Sender::send(const IpAddress& source, Bytes bytes) {
  const auto found = connections_.find(source);
  if (found == connections_.end() || found->second.outgoing == nullptr) return;
  Connection& connection = found->second;
  connection.outgoing->append(bytes);
  settle(connection);
}

/// After anything was done to a connection: tells of its failure, counts its queue.
void Sender::settle(Connection& connection) {
  if (connection.outgoing->state() == Outgoing::State::kFailed)
    report_failure(connection, connection.outgoing->error());
  const std::size_t queued = connection.outgoing->queued();
  full_ -= connection.counted > limits_.queue ? 1 : 0;
  full_ += queued > limits_.queue ? 1 : 0;
  queued_ += queued - connection.counted;
  connection.counted = queued;
}

void Sender::flush() {
  for (auto& [source, connection] : connections_) {
    if (connection.counted == 0) continue;
    connection.outgoing->flush();
    settle(connection);
  }
}

bool Sender::ready() const noexcept {
  return !connecting_ && full_ == 0 && queued_ <= limits_.total;
}

void Sender::finish() {
  for (auto& [source, connection] : connections_) {
    if (connection.outgoing == nullptr || connection.outgoing->over()) continue;
    connection.outgoing->finish();
    settle(connection);
  }
}

bool Sender::finished() const noexcept {
  return std::all_of(connections_.begin(), connections_.end(), [](const auto& entry) {
    return entry.second.outgoing == nullptr || entry.second.outgoing->over();
  });
}

std::optional<std::uint16_t> Sender::port_of(const IpAddress& source) const {
  const auto found = connections_.find(source);
  if (found == connections_.end() || found->second.failure_reported) return std::nullopt;
  return found->second.port;
}

/// "Connection lost" for one that was established: the peer may have some of the bytes.
void Sender::report_failure(Connection& connection, const std::string& error) {
  failed_ = true;
  if (std::exchange(connection.failure_reported, true)) return;
  console_.remark(fmt::format("Connection {} for {} to {}: {}",
                              connection.reported ? "lost" : "failed", connection.source,
                              connection.server, error));
}

}  // namespace serverd::pcap2stream
