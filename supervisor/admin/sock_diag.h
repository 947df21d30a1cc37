#pragma once

#include "common/os/socket.h"

#include <cstdint>
#include <vector>

namespace serverd {

/// A TCP socket as the kernel shows it, see sock_diag(7).
struct TcpSocket {
  std::uint64_t cookie = 0;  ///< SO_COOKIE
  SocketAddress local;
  SocketAddress peer;
  std::uint8_t state = 0;    ///< TCP_ESTABLISHED … of netinet/tcp.h
  std::uint32_t recv_q = 0;  ///< bytes that were received and not read
  std::uint32_t send_q = 0;  ///< bytes that were written and not acknowledged
  std::uint32_t inode = 0;   ///< 0: no process has it, as in a backlog
};

/// Every connected TCP socket of this network namespace whose own port is one of `ports`. Throws
/// std::system_error.
std::vector<TcpSocket> dump_tcp_sockets(const std::vector<std::uint16_t>& ports);

/// As ss(8) and netstat(8) call it: "ESTABLISHED".
const char* tcp_state_name(std::uint8_t state) noexcept;

}  // namespace serverd
