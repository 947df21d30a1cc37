#pragma once

#include "common/os/unique_fd.h"

#include <string>
#include <vector>

namespace serverd::packets {

/// A network interface and the first address that it has of each family; without one, "".
struct Interface {
  std::string name;
  std::string ipv4;
  std::string ipv6;  ///< a link-local one only if there is no other

  bool operator==(const Interface&) const = default;
};

/// Those that are up or have an address, in the kernel's order: getifaddrs(3). Throws
/// std::system_error.
std::vector<Interface> list_interfaces();

/// `{"data":[{"Name":"lo","IpV4Address":"127.0.0.1","IpV6Address":"::1"}]}`
std::string interfaces_json(const std::vector<Interface>& interfaces);

/// The JSON of all interfaces, made anew only after the kernel has said that something changed
/// (rtnetlink(7)).
class InterfaceDirectory final {
 public:
  /// Throws std::system_error.
  InterfaceDirectory();

  /// As it is now. Throws std::system_error.
  const std::string& json();

 private:
  bool changed() noexcept;

  UniqueFd changes_;
  std::string json_;  ///< empty: not known
};

}  // namespace serverd::packets
