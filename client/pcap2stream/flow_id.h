#pragma once

#include "client/pcap2stream/bytes.h"

#include <array>
#include <cstdint>
#include <string>
#include <tuple>

namespace serverd::pcap2stream {

/// An IPv4 or IPv6 address as it stands in a packet. A small value, fit for a map's key.
struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};  ///< IPv4: the first four, the rest zero
  bool is_v6 = false;

  /// From the 4 or 16 bytes of an address field.
  static IpAddress from_bytes(Bytes field) noexcept;
  /// "10.0.0.5", "2001:db8::5".
  std::string to_string() const;
  bool operator==(const IpAddress&) const = default;
  bool operator<(const IpAddress& other) const noexcept {
    return std::tie(is_v6, bytes) < std::tie(other.is_v6, other.bytes);
  }
};

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  /// "10.0.0.5:4242", "[2001:db8::5]:4242".
  std::string to_string() const;
  bool operator==(const Endpoint&) const = default;
};

/// One direction of a TCP connection.
struct FlowId {
  Endpoint source;
  Endpoint destination;

  /// "10.0.0.5:4242 > 10.0.0.9:80".
  std::string to_string() const;
  bool operator==(const FlowId&) const = default;
};

struct FlowIdHash {
  std::size_t operator()(const FlowId& id) const noexcept;
};

}  // namespace serverd::pcap2stream
