#include "worker/tcp_progress.h"

#include <cerrno>
#include <cstddef>
#include <cstring>

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
constexpr std::uint8_t kTcpTimeWait = 6;
constexpr std::uint8_t kTcpClose = 7;
constexpr std::uint8_t kTcpLastAck = 9;
constexpr std::uint8_t kTcpClosing = 11;

/// A peeked byte comes with TCP_CM_INQ, which counts a FIN where SIOCINQ does not.
std::optional<int> queued_with_fin(int fd) noexcept {
  const int on = 1;
  const int off = 0;
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ::setsockopt(fd, IPPROTO_TCP, TCP_INQ, &on, sizeof on);
  const ssize_t n = ::recvmsg(fd, &header, MSG_PEEK | MSG_DONTWAIT);
  ::setsockopt(fd, IPPROTO_TCP, TCP_INQ, &off, sizeof off);
  if (n <= 0) return std::nullopt;
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != IPPROTO_TCP || item->cmsg_type != TCP_CM_INQ) continue;
    int queued = 0;
    std::memcpy(&queued, CMSG_DATA(item), sizeof queued);
    return queued;
  }
  return std::nullopt;
}

/// On an empty queue TCP_ZEROCOPY_RECEIVE says EIO behind a FIN. Asked without its `err` member it
/// leaves the socket's pending error, which recv(2) would consume, to whoever reads.
bool at_fin(int fd) noexcept {
  tcp_zerocopy_receive nothing{};
  socklen_t size = offsetof(tcp_zerocopy_receive, inq);
  return ::getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &nothing, &size) != 0 && errno == EIO;
}

/// A closed socket got there by a RST or a time-out, or behind a FIN.
bool fin_before_close(int fd, std::uint64_t waiting) noexcept {
  if (waiting == 0) return at_fin(fd);
  const std::optional<int> queued = queued_with_fin(fd);
  return queued && static_cast<std::uint64_t>(*queued) > waiting;
}

/// The peer's FIN has been received in every state but the first four that a connected socket can
/// have, and nothing is known of a closed one.
bool fin_received(int fd, std::uint8_t state, std::uint64_t waiting) noexcept {
  if (state == kTcpClose) return fin_before_close(fd, waiting);
  return state != kTcpEstablished && state != kTcpSynRecv && state != kTcpFinWait1 &&
         state != kTcpFinWait2;
}

struct Reading {
  std::uint64_t received;
  std::uint64_t acknowledged;
  std::uint8_t state;
};

std::optional<Reading> read_info(int fd) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  return Reading{info.tcpi_bytes_received, info.tcpi_bytes_acked, info.tcpi_state};
}

}  // namespace

bool is_shut_down(int fd) noexcept {
  const std::optional<Reading> reading = read_info(fd);
  if (!reading) return true;
  switch (reading->state) {
    case kTcpFinWait1:
    case kTcpFinWait2:
    case kTcpTimeWait:
    case kTcpLastAck:
    case kTcpClosing:
      return true;
    case kTcpClose:
      return bytes_waiting_in(fd) == 0;
    default:
      return false;
  }
}

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
    return first->received - waiting - (fin_received(fd, first->state, waiting) ? 1 : 0);
  }
  return std::nullopt;
}

bool has_taken(int fd, std::uint64_t expected) noexcept {
  const std::uint64_t waiting = bytes_waiting_in(fd);
  const auto info = read_info(fd);
  const bool plainly =
      info && info->state == kTcpEstablished && info->received == expected + waiting;
  return plainly || bytes_taken_from(fd) == expected;
}

std::optional<std::uint64_t> bytes_written_to(int fd, Opener opener) noexcept {
  const std::uint64_t syn = opener == Opener::kUs ? 1 : 0;
  constexpr int kAttempts = 1000;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    int queued = 0;
    const auto before = read_info(fd);
    if (!before || ::ioctl(fd, SIOCOUTQ, &queued) != 0) return std::nullopt;
    const auto after = read_info(fd);
    if (after && after->acknowledged == before->acknowledged)
      return before->acknowledged - syn + static_cast<std::uint64_t>(queued);
  }
  return std::nullopt;
}

}  // namespace serverd
