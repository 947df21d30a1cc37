#include "worker/packets/interfaces.h"

#include "common/os/error.h"
#include "worker/http/message.h"

#include <algorithm>
#include <cerrno>
#include <memory>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace serverd::packets {
namespace {

std::string text_of(int family, const void* address) {
  char text[INET6_ADDRSTRLEN] = "";
  return ::inet_ntop(family, address, text, sizeof text) == nullptr ? "" : text;
}

void add_address(Interface& interface, const sockaddr& address) {
  if (address.sa_family == AF_INET && interface.ipv4.empty())
    interface.ipv4 = text_of(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr);
  if (address.sa_family != AF_INET6) return;
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  const bool only_local = interface.ipv6.starts_with("fe80:") && !IN6_IS_ADDR_LINKLOCAL(&v6);
  if (interface.ipv6.empty() || only_local) interface.ipv6 = text_of(AF_INET6, &v6);
}

}  // namespace

std::vector<Interface> list_interfaces() {
  ifaddrs* first = nullptr;
  check_call(::getifaddrs(&first), "getifaddrs");
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(first, &::freeifaddrs);
  std::vector<Interface> interfaces;
  for (const ifaddrs* item = first; item != nullptr; item = item->ifa_next) {
    const bool has_address = item->ifa_addr != nullptr && (item->ifa_addr->sa_family == AF_INET ||
                                                           item->ifa_addr->sa_family == AF_INET6);
    if (!has_address && (item->ifa_flags & IFF_UP) == 0) continue;
    auto found = std::find_if(interfaces.begin(), interfaces.end(),
                              [&](const Interface& known) { return known.name == item->ifa_name; });
    if (found == interfaces.end())
      found = interfaces.insert(interfaces.end(), {item->ifa_name, "", ""});
    if (has_address) add_address(*found, *item->ifa_addr);
  }
  return interfaces;
}

std::string interfaces_json(const std::vector<Interface>& interfaces) {
  std::string json = "{\"data\":[";
  for (const Interface& interface : interfaces) {
    json += &interface == interfaces.data() ? "" : ",";
    json += "{\"Name\":" + http::json_string(interface.name);
    json += ",\"IpV4Address\":" + http::json_string(interface.ipv4);
    json += ",\"IpV6Address\":" + http::json_string(interface.ipv6) + "}";
  }
  return json + "]}";
}

InterfaceDirectory::InterfaceDirectory()
    : changes_(UniqueFd::adopt(
          check_call(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE),
                     "socket for rtnetlink"))) {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  check_call(::bind(changes_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
             "bind for rtnetlink");
}

const std::string& InterfaceDirectory::json() {
  if (changed() || json_.empty()) {
    json_.clear();
    json_ = interfaces_json(list_interfaces());
  }
  return json_;
}

/// Takes what the kernel has said; that it had to leave something out (ENOBUFS) is a change too.
bool InterfaceDirectory::changed() noexcept {
  bool any = false;
  char message[8192];
  for (;;) {
    const ssize_t n = ::recv(changes_.get(), message, sizeof message, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return any;
    if (n < 0 && errno != EINTR && errno != ENOBUFS) return true;
    any = true;
  }
}

}  // namespace serverd::packets
