#include "worker/tcp_progress.h"

// linux/tcp.h has tcpi_bytes_received, which netinet/tcp.h of this C library lacks.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace serverd {
namespace {

// enum in the kernel's include/net/tcp_states.h, not exported in linux/tcp.h.
constexpr std::uint8_t kTcpEstablished = 1;
constexpr std::uint8_t kTcpSynRecv = 3;
constexpr std::uint8_t kTcpFinWait1 = 4;
constexpr std::uint8_t kTcpFinWait2 = 5;

/// The peer's FIN has been received in every other state that a connected socket can have.
bool fin_received(std::uint8_t state) noexcept {
  return state != kTcpEstablished && state != kTcpSynRecv && state != kTcpFinWait1 &&
         state != kTcpFinWait2;
}

struct Reading {
  std::uint64_t received;
  std::uint8_t state;
};

std::optional<Reading> read_info(int fd) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  return Reading{info.tcpi_bytes_received, info.tcpi_state};
}

}  // namespace

std::uint64_t bytes_waiting_in(int fd) noexcept {
  int waiting = 0;
  return ::ioctl(fd, SIOCINQ, &waiting) == 0 && waiting > 0 ? static_cast<std::uint64_t>(waiting)
                                                            : 0;
}

std::optional<std::uint64_t> bytes_taken_from(int fd) noexcept {
  // Bytes may arrive between two calls, so both are read twice until nothing has moved.
  constexpr int kAttempts = 1000;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::uint64_t waiting = bytes_waiting_in(fd);
    const auto first = read_info(fd);
    const auto second = read_info(fd);
    if (!first || !second) return std::nullopt;
    if (bytes_waiting_in(fd) != waiting || first->received != second->received ||
        first->state != second->state)
      continue;
    return first->received - waiting - (fin_received(first->state) ? 1 : 0);
  }
  return std::nullopt;
}

}  // namespace serverd
