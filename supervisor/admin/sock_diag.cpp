#include "supervisor/admin/sock_diag.h"

#include "common/os/error.h"
#include "common/os/unique_fd.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cerrno>
#include <cstring>
#include <memory>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace serverd {
namespace {

using PortSet = std::bitset<65536>;

constexpr std::size_t kBufferSize = std::size_t{256} << 10;
/// All but the listening ones.
constexpr std::uint32_t kConnected = ~(1U << TCP_LISTEN);

SocketAddress address_from(std::uint8_t family, const void* host, std::uint16_t port_be) {
  sockaddr_storage storage{};
  storage.ss_family = family;
  if (family == AF_INET6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&storage);
    std::memcpy(&in6->sin6_addr, host, sizeof in6->sin6_addr);
    in6->sin6_port = port_be;
    return SocketAddress::from_storage(storage, sizeof *in6);
  }
  auto* in = reinterpret_cast<sockaddr_in*>(&storage);
  std::memcpy(&in->sin_addr, host, sizeof in->sin_addr);
  in->sin_port = port_be;
  return SocketAddress::from_storage(storage, sizeof *in);
}

TcpSocket socket_from(const inet_diag_msg& message) {
  const inet_diag_sockid& id = message.id;
  TcpSocket socket;
  socket.cookie = id.idiag_cookie[0] | std::uint64_t{id.idiag_cookie[1]} << 32;
  socket.local = address_from(message.idiag_family, id.idiag_src, id.idiag_sport);
  socket.peer = address_from(message.idiag_family, id.idiag_dst, id.idiag_dport);
  socket.state = message.idiag_state;
  socket.recv_q = message.idiag_rqueue;
  socket.send_q = message.idiag_wqueue;
  socket.inode = message.idiag_inode;
  return socket;
}

/// The older request, as ss(8) uses it: it alone gives IPv4 and IPv6 in one walk through the
/// kernel's table, and that walk is what a dump costs.
void ask_for_dump(int netlink) {
  struct {
    nlmsghdr header;
    inet_diag_req request;
  } message{};
  message.header.nlmsg_len = sizeof message;
  message.header.nlmsg_type = TCPDIAG_GETSOCK;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  message.request.idiag_family = AF_INET;
  message.request.idiag_states = kConnected;
  check_call(static_cast<int>(::send(netlink, &message, sizeof message, 0)), "sock_diag request");
}

[[noreturn]] void throw_error_in(const nlmsghdr* header) {
  const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(header));
  throw_system_error(-error->error, "sock_diag");
}

/// False at the end of the dump.
bool take_messages(const char* bytes, std::size_t size, const PortSet& ports,
                   std::vector<TcpSocket>& sockets) {
  while (size >= sizeof(nlmsghdr)) {
    const auto* header = reinterpret_cast<const nlmsghdr*>(bytes);
    if (header->nlmsg_type == NLMSG_DONE) return false;
    if (header->nlmsg_type == NLMSG_ERROR) throw_error_in(header);
    if (header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg)) || header->nlmsg_len > size) break;
    const auto* message = static_cast<const inet_diag_msg*>(NLMSG_DATA(header));
    if (ports[ntohs(message->id.idiag_sport)]) sockets.push_back(socket_from(*message));
    const std::size_t taken = std::min<std::size_t>(NLMSG_ALIGN(header->nlmsg_len), size);
    bytes += taken;
    size -= taken;
  }
  return true;
}

void dump(int netlink, const PortSet& ports, std::vector<TcpSocket>& sockets) {
  ask_for_dump(netlink);
  const auto buffer = std::make_unique<char[]>(kBufferSize);
  for (;;) {
    const ssize_t n = ::recv(netlink, buffer.get(), kBufferSize, 0);
    if (n < 0 && errno == EINTR) continue;
    check_call(static_cast<int>(n), "sock_diag reply");
    if (!take_messages(buffer.get(), static_cast<std::size_t>(n), ports, sockets)) return;
  }
}

}  // namespace

std::vector<TcpSocket> dump_tcp_sockets(const std::vector<std::uint16_t>& ports) {
  PortSet wanted;
  for (const std::uint16_t port : ports) wanted.set(port);
  const UniqueFd netlink = UniqueFd::adopt(check_call(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), "sock_diag socket"));
  std::vector<TcpSocket> sockets;
  dump(netlink.get(), wanted, sockets);
  return sockets;
}

const char* tcp_state_name(std::uint8_t state) noexcept {
  constexpr std::array<const char*, 13> kNames = {
      "?",     "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
      "CLOSE", "CLOSE_WAIT",  "LAST_ACK", "LISTEN",   "CLOSING",   "SYN_RECV"};
  return state < kNames.size() ? kNames[state] : "?";
}

}  // namespace serverd
