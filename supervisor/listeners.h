#pragma once

#include "common/config.h"
#include "common/handoff.h"
#include "common/os/unique_fd.h"

#include <cstdint>
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

/// Binds every address of `service`. A port counts as failed as a whole if one of its addresses
/// cannot be bound. Sockets for "systemd:NAME" are taken out of `inherited`.
BindResult bind_listeners(const ServiceConfig& service, std::vector<NamedFd>& inherited);

}  // namespace serverd
