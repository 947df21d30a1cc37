#pragma once

#include "common/os/error.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"
#include "tests/support/eventually.h"

#include <stdexcept>
#include <string>
#include <string_view>

#include <poll.h>
#include <sys/socket.h>

namespace serverd::test {

/// Both ends of a TCP connection over the loopback.
struct TcpPair {
  UniqueFd client;
  UniqueFd server;  ///< as a worker has it: non-blocking, urgent data inline
};

inline SocketAddress loopback(std::uint16_t port = 0) {
  return SocketAddress::from_host("127.0.0.1", port).value();
}

inline bool wait_for(int fd, short events, int patience_ms = 20'000) {
  pollfd item{fd, events, 0};
  return ::poll(&item, 1, patience_ms) == 1;
}

inline TcpPair tcp_pair(const SocketAddress& at = loopback()) {
  const UniqueFd listener = listen_on(at, 1);
  TcpPair pair{connect_to(SocketAddress::local_of(listener.get())), {}};
  if (!wait_for(listener.get(), POLLIN)) throw std::runtime_error("no connection to accept");
  pair.server = UniqueFd::adopt(check_call(
      ::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4"));
  const int on = 1;
  check_call(::setsockopt(pair.server.get(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof on),
             "SO_OOBINLINE");
  return pair;
}

/// Sends everything; the other side must have room for it or be read.
inline void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN && wait_for(fd, POLLOUT)) continue;
    check_call(static_cast<int>(n), "send");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

/// Closes with a RST instead of a FIN.
inline void reset_connection(UniqueFd& fd) {
  const linger hard{1, 0};
  check_call(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard), "SO_LINGER");
  fd.reset();
}

/// A stream that shows where in it a byte was lost, doubled or moved.
inline std::string stream_bytes(std::size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  unsigned value = seed * 2654435761U + 1;
  for (char& byte : bytes) {
    value = value * 1664525U + 1013904223U;
    byte = static_cast<char>(value >> 24);
  }
  return bytes;
}

}  // namespace serverd::test
