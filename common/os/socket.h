#pragma once

#include "common/os/unique_fd.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <sys/socket.h>

namespace serverd {

/// An IPv4 or IPv6 address with a port. A value; port 0..65535 in host byte order.
class SocketAddress final {
 public:
  SocketAddress() noexcept = default;

  /// From a numeric host ("127.0.0.1", "::1", "fe80::1%eth0"); names are never looked up.
  /// Empty if `host` is not an address.
  static std::optional<SocketAddress> from_host(std::string_view host, std::uint16_t port);
  /// getsockname(2); throws std::system_error.
  static SocketAddress local_of(int fd);
  /// getpeername(2); empty once the peer has reset the connection.
  static std::optional<SocketAddress> peer_of(int fd) noexcept;
  /// From what accept4(2) filled in.
  static SocketAddress from_storage(const sockaddr_storage& storage, socklen_t size) noexcept;

  const sockaddr* data() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const noexcept { return size_; }
  int family() const noexcept { return storage_.ss_family; }
  std::uint16_t port() const noexcept;
  /// 0.0.0.0 or ::
  bool is_wildcard() const noexcept;
  /// The host alone: "127.0.0.1", "::1".
  std::string host() const;
  /// "127.0.0.1:5000", "[::1]:5000".
  std::string to_string() const;

  bool operator==(const SocketAddress& other) const noexcept;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

/// A non-blocking TCP listener on `address` (SO_REUSEADDR, SO_OOBINLINE; IPv6 sockets take IPv6
/// only, so that 0.0.0.0 and :: can share a port). Throws std::system_error naming call and
/// address.
UniqueFd listen_on(const SocketAddress& address, int backlog);

/// A non-blocking TCP socket on its way to `address` (EINPROGRESS is no error). Throws
/// std::system_error for what fails at once.
UniqueFd connect_to(const SocketAddress& address);

/// Another descriptor for the same socket or file (CLOEXEC). Throws std::system_error.
UniqueFd duplicate(int fd);

/// An integer socket option, or empty where the descriptor has none.
std::optional<int> socket_option(int fd, int level, int name) noexcept;

/// SO_COOKIE (socket(7)): names one socket of this boot, whatever descriptor refers to it. 0 if
/// `fd` is no socket.
std::uint64_t socket_cookie(int fd) noexcept;

}  // namespace serverd
