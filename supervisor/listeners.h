#pragma once

#include "common/config.h"
#include "common/handoff.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace serverd {

/// The listening sockets of one port, which one worker serves.
struct PortListeners {
  std::uint16_t port;
  std::vector<UniqueFd> fds;

  /// "0.0.0.0:5000,[::]:5000"
  std::string addresses() const;
};

/// What came of binding one service's ports.
struct BindResult {
  std::vector<PortListeners> ports;   ///< ascending
  std::vector<std::string> failures;  ///< "bind 0.0.0.0:5000: Address already in use"
};

/// Gives a duplicate of a socket that we have already for an address, or an empty one.
using HaveListener = std::function<UniqueFd(const SocketAddress&)>;

/// Binds every address of `service` for which neither `have` nor `inherited` has a socket. A port
/// counts as failed as a whole if one of its addresses cannot be bound. Sockets for "systemd:NAME",
/// and those that listen on a configured address, are duplicates of those in `inherited`.
BindResult bind_listeners(const ServiceConfig& service, const std::vector<NamedFd>& inherited,
                          const HaveListener& have);

}  // namespace serverd
