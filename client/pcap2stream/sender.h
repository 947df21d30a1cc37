#pragma once

#include "client/pcap2stream/console.h"
#include "client/pcap2stream/flow_id.h"
#include "client/pcap2stream/outgoing.h"
#include "common/loop/loop.h"
#include "common/os/socket.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace serverd::pcap2stream {

/// One connection per source, to consecutive ports; a connection that fails does not use up its
/// port. Holds a bounded amount of unsent bytes as long as the caller stops while !ready().
class Sender final {
 public:
  struct Limits {
    std::size_t queue = std::size_t{4} << 20;   ///< unsent bytes of one connection
    std::size_t total = std::size_t{64} << 20;  ///< of all together
  };
  struct Target {
    std::string host;  ///< numeric
    std::uint16_t base_port = 0;
  };

  /// `changed` is called from the loop whenever ready() or finished() may have changed.
  Sender(Loop& loop, Console& console, Target target, const Timeouts& timeouts,
         const Limits& limits, std::function<void()> changed);

  /// Begins a connection for `source`, unless there is or was one. Only while ready().
  void open(const IpAddress& source);
  /// Queues bytes for a source that was opened; dropped if its connection failed.
  void send(const IpAddress& source, Bytes bytes);
  /// Hands to the kernel what it takes now.
  void flush();
  /// No connection is being made, and queues have room.
  bool ready() const noexcept;
  /// Nothing more comes: FIN on every connection once its queue is empty.
  void finish();
  /// After finish(): every connection is over.
  bool finished() const noexcept;
  /// No connection has failed so far.
  bool intact() const noexcept { return !failed_; }
  /// The port whose connection took (or is taking) all of this source's bytes; empty: it failed.
  std::optional<std::uint16_t> port_of(const IpAddress& source) const;

 private:
  struct Connection {
    std::string source;
    std::string server;
    std::uint16_t port = 0;
    bool reported = false;  ///< as established
    bool failure_reported = false;
    std::size_t counted = 0;             ///< its part of queued_
    std::unique_ptr<Outgoing> outgoing;  ///< null if connecting failed at once
  };

  void connect(Connection& connection);
  void on_change(Connection& connection);
  void settle(Connection& connection);
  void report_failure(Connection& connection, const std::string& error);

  Loop& loop_;
  Console& console_;
  Target target_;
  Timeouts timeouts_;
  Limits limits_;
  std::function<void()> changed_;
  std::map<IpAddress, Connection> connections_;
  std::uint32_t next_port_;
  bool connecting_ = false;
  bool failed_ = false;
  std::size_t queued_ = 0;  ///< by all connections
  std::size_t full_ = 0;    ///< connections whose queue is over its limit
};

}  // namespace serverd::pcap2stream
