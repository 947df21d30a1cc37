#include "supervisor/inherited.h"

#include "common/log.h"

#include <fmt/format.h>

#include <netinet/in.h>
#include <sys/socket.h>

namespace serverd {
namespace {

bool is_internet(int fd) {
  const auto domain = socket_option(fd, SOL_SOCKET, SO_DOMAIN);
  return domain == AF_INET || domain == AF_INET6;
}

const char* type_name(int type) {
  switch (type) {
    case SOCK_DGRAM:
      return "a datagram socket";
    case SOCK_STREAM:
      return "a stream socket that is not TCP";
    default:
      return "neither a stream nor a datagram socket";
  }
}

}  // namespace

std::string describe_inherited(const NamedFd& item) {
  const std::string address =
      is_internet(item.fd.get()) ? ", " + SocketAddress::local_of(item.fd.get()).to_string() : "";
  const std::string what = item.number < 0 ? "socket" : fmt::format("descriptor {}", item.number);
  return fmt::format("{} ({}{})", what, item.name, address);
}

std::string not_a_listener(int fd) {
  const auto type = socket_option(fd, SOL_SOCKET, SO_TYPE);
  if (!type) return "no socket";
  if (socket_option(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX) return "a UNIX socket";
  if (!is_internet(fd)) return "a socket of another family than IPv4 and IPv6";
  if (type != SOCK_STREAM || socket_option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP)
    return type_name(*type);
  if (socket_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1) return "";
  const auto peer = SocketAddress::peer_of(fd);
  return peer ? fmt::format("a connection from {} (Accept=yes in the socket unit?)",
                            peer->to_string())
              : "a TCP socket that does not listen";
}

bool listens_on(int fd, const SocketAddress& address) {
  const SocketAddress local = SocketAddress::local_of(fd);
  if (local == address) return true;
  return address.family() == AF_INET && address.is_wildcard() && local.family() == AF_INET6 &&
         local.is_wildcard() && local.port() == address.port() &&
         socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
}

std::vector<std::string> close_useless(std::vector<NamedFd>& inherited) {
  std::vector<std::string> names;
  std::erase_if(inherited, [&](const NamedFd& item) {
    const std::string what = not_a_listener(item.fd.get());
    if (what.empty()) return false;
    log::warning("Inherited {} is {}; closed, for only listening TCP sockets are of use",
                 describe_inherited(item), what);
    names.push_back(item.name);
    return true;
  });
  return names;
}

}  // namespace serverd
