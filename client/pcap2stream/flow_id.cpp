#include "client/pcap2stream/flow_id.h"

#include <algorithm>
#include <functional>
#include <string_view>

#include <arpa/inet.h>

namespace serverd::pcap2stream {

IpAddress IpAddress::from_bytes(Bytes field) noexcept {
  IpAddress address;
  address.is_v6 = field.size() == address.bytes.size();
  std::copy_n(field.begin(), std::min(field.size(), address.bytes.size()), address.bytes.begin());
  return address;
}

std::string IpAddress::to_string() const {
  char text[INET6_ADDRSTRLEN];
  return ::inet_ntop(is_v6 ? AF_INET6 : AF_INET, bytes.data(), text, sizeof text);
}

std::string Endpoint::to_string() const {
  const std::string host = address.to_string();
  return (address.is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string FlowId::to_string() const {
  return source.to_string() + " > " + destination.to_string();
}

std::size_t FlowIdHash::operator()(const FlowId& id) const noexcept {
  const auto hash = [](const Endpoint& end) {
    const auto* bytes = reinterpret_cast<const char*>(end.address.bytes.data());
    const std::string_view text(bytes, end.address.bytes.size());
    return std::hash<std::string_view>{}(text)*31 + end.port;
  };
  return hash(id.source) * 1'000'003 + hash(id.destination);
}

}  // namespace serverd::pcap2stream
