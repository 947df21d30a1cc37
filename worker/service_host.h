#pragma once

#include "common/loop/loop.h"
#include "common/os/socket.h"

#include <cstdint>
#include <optional>

namespace serverd {

/// What a service may ask of its worker beyond answering: sessions that speak unasked, and
/// connections of its own. Everything asked for happens at the end of the turn or later.
class ServiceHost {
 public:
  virtual Loop& loop() noexcept = 0;
  /// There is something for Service::commit.
  virtual void commit_soon() = 0;
  /// The session of this slot has output, or is ending; its connection looks after the commit.
  virtual void wake(std::uint32_t slot_index) = 0;
  /// Connects to `address`. Comes to Service::open_outgoing or Service::on_connect_failed, with the
  /// `token`.
  virtual void connect(const SocketAddress& address, std::uint64_t token) = 0;
  /// The address that a connection's peer reached us at; empty if there is no such connection.
  virtual std::optional<SocketAddress> local_address(std::uint32_t slot_index) const = 0;

 protected:
  ~ServiceHost() = default;
};

}  // namespace serverd
