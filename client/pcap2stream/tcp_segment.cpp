#include "client/pcap2stream/tcp_segment.h"

#include <algorithm>
#include <utility>

namespace serverd::pcap2stream {
namespace {

constexpr std::uint8_t kTcp = 6;
constexpr std::size_t kIpv4Header = 20;
constexpr std::size_t kIpv6Header = 40;
constexpr std::size_t kTcpHeader = 20;

constexpr std::uint8_t kFin = 0x01;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kRst = 0x04;
constexpr std::uint8_t kAck = 0x10;

/// IPv6 extension headers that may precede TCP.
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

}  // namespace

std::optional<TcpSegment> SegmentDecoder::decode(Bytes packet, std::size_t wire_size) {
  if (packet.empty()) return malformed();
  switch (packet[0] >> 4) {
    case 4:
      return decode_ipv4(packet, wire_size);
    case 6:
      return decode_ipv6(packet, wire_size);
    default:
      return malformed();
  }
}

std::optional<TcpSegment> SegmentDecoder::decode_ipv4(Bytes packet, std::size_t wire_size) {
  if (packet.size() < kIpv4Header) return malformed();
  if (packet[9] != kTcp) return std::nullopt;
  const std::size_t header = std::size_t{packet[0] & 0x0fU} * 4;
  // A length of 0: the sender's card was to cut this packet into several (segmentation offload).
  const std::size_t declared = read_u16(packet, 2) == 0 ? wire_size : read_u16(packet, 2);
  const std::size_t captured = std::min(declared, packet.size());
  if (header < kIpv4Header || captured < header) return malformed();

  constexpr std::uint16_t kMoreFragmentsAndOffset = 0x3fff;
  if ((read_u16(packet, 6) & kMoreFragmentsAndOffset) != 0)
    return decode_fragment(packet.first(captured), captured < declared);
  return decode_tcp(IpAddress::from_bytes(packet.subspan(12, 4)),
                    IpAddress::from_bytes(packet.subspan(16, 4)),
                    packet.subspan(header, captured - header), declared - captured);
}

std::optional<TcpSegment> SegmentDecoder::decode_fragment(Bytes fragment, bool snapped) {
  if (snapped) {
    ++ignored_.snapped_fragments;
    return std::nullopt;
  }
  auto whole = fragments_.add(fragment);
  if (!whole) return std::nullopt;
  datagram_ = std::move(*whole);
  return decode_ipv4(datagram_, datagram_.size());
}

std::optional<TcpSegment> SegmentDecoder::decode_ipv6(Bytes packet, std::size_t wire_size) {
  if (packet.size() < kIpv6Header) return malformed();
  // A length of 0: segmentation offload, or a jumbogram (RFC 2675).
  const std::size_t length = read_u16(packet, 4);
  const std::size_t declared = length == 0 ? wire_size : kIpv6Header + length;
  const std::size_t captured = std::min(declared, packet.size());
  std::uint8_t next = packet[6];
  std::size_t at = kIpv6Header;
  while (is_extension(next)) {
    if (captured < at + 8) return malformed();
    // The fragment offset and the flag "more": a packet that is a fragment of one is whole.
    if (next == kFragment && (read_u16(packet, at + 2) & 0xfff9) != 0) {
      ++ignored_.ipv6_fragments;
      return std::nullopt;
    }
    const std::size_t size = extension_size(next, packet[at + 1]);
    next = packet[at];
    at += size;
  }
  if (next != kTcp) return std::nullopt;
  if (captured < at) return malformed();
  return decode_tcp(IpAddress::from_bytes(packet.subspan(8, 16)),
                    IpAddress::from_bytes(packet.subspan(24, 16)),
                    packet.subspan(at, captured - at), declared - captured);
}

std::optional<TcpSegment> SegmentDecoder::decode_tcp(const IpAddress& source,
                                                     const IpAddress& destination, Bytes segment,
                                                     std::size_t missing) {
  if (segment.size() < kTcpHeader) return malformed();
  const std::size_t header = std::size_t{segment[12]} / 16 * 4;
  if (header < kTcpHeader || header > segment.size()) return malformed();
  const std::uint8_t flags = segment[13];
  TcpSegment result;
  result.flow = {{source, read_u16(segment, 0)}, {destination, read_u16(segment, 2)}};
  result.syn = (flags & kSyn) != 0;
  result.fin = (flags & kFin) != 0;
  result.rst = (flags & kRst) != 0;
  result.sequence = read_u32(segment, 4) + (result.syn ? 1 : 0);
  if ((flags & kAck) != 0) result.acknowledged = read_u32(segment, 8);
  result.payload = segment.subspan(header);
  result.missing = missing;
  return result;
}

std::optional<TcpSegment> SegmentDecoder::malformed() noexcept {
  ++ignored_.malformed;
  return std::nullopt;
}

}  // namespace serverd::pcap2stream
