#pragma once

#include "common/os/socket.h"
#include "common/os/unique_fd.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include <poll.h>
#include <sys/socket.h>

namespace serverd::pcap2stream {

/// A listening socket on 127.0.0.1 or ::1, read by the test as slowly as it likes.
class Listener final {
 public:
  explicit Listener(std::uint16_t port = 0, const std::string& host = "127.0.0.1")
      : fd_(listen_on(*SocketAddress::from_host(host, port), 8)) {}

  std::uint16_t port() const { return SocketAddress::local_of(fd_.get()).port(); }
  int fd() const { return fd_.get(); }

  /// The next connection, blocking; an empty descriptor after 10 s.
  UniqueFd accept() const {
    pollfd ready{fd_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 10'000) != 1) return {};
    return UniqueFd::adopt(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

 private:
  UniqueFd fd_;
};

/// A port that nobody listens on, followed by as many that this process may listen on: found by
/// asking the kernel.
inline std::uint16_t free_port_range(int count) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    try {
      Listener first;
      if (first.port() > 65000) continue;
      for (int i = 1; i < count; ++i) Listener(static_cast<std::uint16_t>(first.port() + i));
      return first.port();
    } catch (const std::system_error&) {
      continue;
    }
  }
  return 0;
}

/// Everything until the peer's FIN, or a reset.
inline std::string read_to_end(int fd) {
  std::string all;
  char buffer[65536];
  for (ssize_t got = 0; (got = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
    all.append(buffer, static_cast<std::size_t>(got));
  return all;
}

/// Resets instead of closing.
inline void reset_connection(UniqueFd fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace serverd::pcap2stream
