#include "common/os/socket.h"

#include "common/os/error.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>

namespace serverd {

std::optional<SocketAddress> SocketAddress::from_host(std::string_view host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string text(host);
  if (text.find('\0') != std::string::npos) return std::nullopt;  // C would not see what follows
  // getaddrinfo also takes "1" or "0x7f.1" for an IPv4 address (inet_aton(3)); nobody means that.
  in_addr strict{};
  const bool looks_v4 = text.find(':') == std::string::npos;
  if (looks_v4 && ::inet_pton(AF_INET, text.c_str(), &strict) != 1) return std::nullopt;
  if (::getaddrinfo(text.c_str(), std::to_string(port).c_str(), &hints, &found) != 0)
    return std::nullopt;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> guard(found, &::freeaddrinfo);
  SocketAddress address;
  std::memcpy(&address.storage_, found->ai_addr, found->ai_addrlen);
  address.size_ = found->ai_addrlen;
  return address;
}

SocketAddress SocketAddress::local_of(int fd) {
  SocketAddress address;
  address.size_ = sizeof address.storage_;
  check_call(::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage_), &address.size_),
             "getsockname of descriptor " + std::to_string(fd));
  return address;
}

std::optional<SocketAddress> SocketAddress::peer_of(int fd) noexcept {
  SocketAddress address;
  address.size_ = sizeof address.storage_;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage_), &address.size_) != 0)
    return std::nullopt;
  return address;
}

SocketAddress SocketAddress::from_storage(const sockaddr_storage& storage,
                                          socklen_t size) noexcept {
  SocketAddress address;
  address.storage_ = storage;
  address.size_ = size;
  return address;
}

std::uint16_t SocketAddress::port() const noexcept {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  if (family() == AF_INET6)
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  return 0;
}

bool SocketAddress::is_wildcard() const noexcept {
  if (family() == AF_INET)
    return reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr.s_addr == htonl(INADDR_ANY);
  return family() == AF_INET6 &&
         IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr);
}

std::string SocketAddress::host() const {
  char text[NI_MAXHOST];
  if (size_ == 0 ||
      ::getnameinfo(data(), size_, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0)
    return "?";
  return text;
}

std::string SocketAddress::to_string() const {
  const std::string name = host();
  const std::string port_text = std::to_string(port());
  return family() == AF_INET6 ? "[" + name + "]:" + port_text : name + ":" + port_text;
}

bool SocketAddress::operator==(const SocketAddress& other) const noexcept {
  return size_ == other.size_ && std::memcmp(&storage_, &other.storage_, size_) == 0;
}

namespace {

UniqueFd stream_socket(const SocketAddress& address) {
  return UniqueFd::adopt(
      check_call(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                 "socket for " + address.to_string()));
}

void set_option(int fd, int level, int name, int value, const std::string& what) {
  check_call(::setsockopt(fd, level, name, &value, sizeof value), what);
}

}  // namespace

UniqueFd listen_on(const SocketAddress& address, int backlog) {
  const std::string name = address.to_string();
  UniqueFd fd = stream_socket(address);
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR on " + name);
  if (address.family() == AF_INET6)
    set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY on " + name);
  // Inherited by connections, and needed before the first of them is accepted: urgent data that is
  // not taken inline is dropped when more of it follows.
  set_option(fd.get(), SOL_SOCKET, SO_OOBINLINE, 1, "SO_OOBINLINE on " + name);
  check_call(::bind(fd.get(), address.data(), address.size()), "bind " + name);
  check_call(::listen(fd.get(), backlog), "listen " + name);
  return fd;
}

UniqueFd connect_to(const SocketAddress& address) {
  UniqueFd fd = stream_socket(address);
  if (::connect(fd.get(), address.data(), address.size()) != 0 && errno != EINPROGRESS)
    throw_system_error(errno, "connect " + address.to_string());
  return fd;
}

UniqueFd duplicate(int fd) {
  return UniqueFd::adopt(
      check_call(::fcntl(fd, F_DUPFD_CLOEXEC, 0), "dup of descriptor " + std::to_string(fd)));
}

std::optional<int> socket_option(int fd, int level, int name) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(fd, level, name, &value, &size) != 0) return std::nullopt;
  return value;
}

std::uint64_t socket_cookie(int fd) noexcept {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  return ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

}  // namespace serverd
