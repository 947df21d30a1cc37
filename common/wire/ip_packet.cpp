#include "common/wire/ip_packet.h"

#include <algorithm>

namespace serverd::wire {
namespace {

constexpr std::size_t kIpv4Header = 20;
constexpr std::size_t kIpv6Header = 40;

/// IPv6 extension headers that may precede the transport header.
enum Extension : std::uint8_t {
  kHopByHop = 0,
  kRouting = 43,
  kFragment = 44,
  kAuthentication = 51,
  kDestinationOptions = 60,
  kMobility = 135,
};

bool is_extension(std::uint8_t header) noexcept {
  switch (header) {
    case kHopByHop:
    case kRouting:
    case kFragment:
    case kAuthentication:
    case kDestinationOptions:
    case kMobility:
      return true;
    default:
      return false;
  }
}

/// The length of an extension header; its second byte counts in units of its own.
std::size_t extension_size(std::uint8_t header, std::uint8_t length) noexcept {
  if (header == kFragment) return 8;
  if (header == kAuthentication) return (std::size_t{length} + 2) * 4;
  return (std::size_t{length} + 1) * 8;
}

IpPacket::Kind kind_of(bool at_offset, bool more) noexcept {
  if (at_offset) return IpPacket::Kind::kLaterFragment;
  return more ? IpPacket::Kind::kFirstFragment : IpPacket::Kind::kWhole;
}

IpPacket read_ipv4(Bytes packet, std::size_t wire_size) noexcept {
  if (packet.size() < kIpv4Header) return {};
  const std::size_t header = std::size_t{packet[0] & 0x0fU} * 4;
  // A length of 0: the sender's card was to cut this packet into several (segmentation offload).
  const std::size_t declared = read_u16(packet, 2) == 0 ? wire_size : read_u16(packet, 2);
  const std::size_t captured = std::min(declared, packet.size());
  if (header < kIpv4Header || captured < header) return {};
  const std::uint16_t fragment = read_u16(packet, 6);
  IpPacket result;
  result.kind = kind_of((fragment & 0x1fff) != 0, (fragment & 0x2000) != 0);
  result.protocol = packet[9];
  result.source = packet.subspan(12, 4);
  result.destination = packet.subspan(16, 4);
  result.packet = packet.first(captured);
  result.payload = packet.subspan(header, captured - header);
  result.missing = declared - captured;
  return result;
}

IpPacket read_ipv6(Bytes packet, std::size_t wire_size) noexcept {
  if (packet.size() < kIpv6Header) return {};
  // A length of 0: segmentation offload, or a jumbogram (RFC 2675).
  const std::size_t length = read_u16(packet, 4);
  const std::size_t declared = length == 0 ? wire_size : kIpv6Header + length;
  const std::size_t captured = std::min(declared, packet.size());
  IpPacket result;
  result.kind = IpPacket::Kind::kWhole;
  result.protocol = packet[6];
  std::size_t at = kIpv6Header;
  while (result.kind != IpPacket::Kind::kLaterFragment && is_extension(result.protocol)) {
    if (captured < at + 8) return {};
    if (result.protocol == kFragment) {
      // A packet that is a fragment of one is whole.
      const std::uint16_t fragment = read_u16(packet, at + 2);
      result.kind = kind_of((fragment & 0xfff8) != 0, (fragment & 1) != 0);
    }
    const std::size_t size = extension_size(result.protocol, packet[at + 1]);
    result.protocol = packet[at];
    at += size;
  }
  if (captured < at) return {};
  result.source = packet.subspan(8, 16);
  result.destination = packet.subspan(24, 16);
  result.packet = packet.first(captured);
  result.payload = packet.subspan(at, captured - at);
  result.missing = declared - captured;
  return result;
}

}  // namespace

IpPacket read_ip(Bytes packet, std::size_t wire_size) noexcept {
  if (packet.empty()) return {};
  switch (packet[0] >> 4) {
    case 4:
      return read_ipv4(packet, wire_size);
    case 6:
      return read_ipv6(packet, wire_size);
    default:
      return {};
  }
}

}  // namespace serverd::wire
