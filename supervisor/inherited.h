#pragma once

#include "common/handoff.h"
#include "common/os/socket.h"

#include <string>
#include <vector>

namespace serverd {

/// "descriptor 3 (web, 127.0.0.1:5000)", for messages.
std::string describe_inherited(const NamedFd& item);

/// Empty for a listening TCP socket. Else what it is in its place: "a datagram socket".
std::string not_a_listener(int fd);

/// True if whoever connects to `address` reaches the listening socket `fd`: it is bound to just
/// that, or to [::] for both families where `address` is 0.0.0.0.
bool listens_on(int fd, const SocketAddress& address);

/// Lets go, with a log line each, of descriptors that are no listening TCP sockets, and gives their
/// names: they may come from the service manager's store, which should forget them.
std::vector<std::string> close_useless(std::vector<NamedFd>& inherited);

}  // namespace serverd
