#include "client/pcap2stream/tcp_segment.h"

#include <algorithm>
#include <utility>

namespace serverd::pcap2stream {
namespace {

constexpr std::size_t kTcpHeader = 20;

constexpr std::uint8_t kFin = 0x01;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kRst = 0x04;
constexpr std::uint8_t kAck = 0x10;

}  // namespace

std::optional<TcpSegment> SegmentDecoder::decode(Bytes packet, std::size_t wire_size) {
  using Kind = wire::IpPacket::Kind;
  const wire::IpPacket ip = wire::read_ip(packet, wire_size);
  if (ip.kind == Kind::kMalformed) return malformed();
  if (ip.protocol != wire::kProtocolTcp) return std::nullopt;
  if (ip.kind == Kind::kWhole) return decode_tcp(ip);
  if (!ip.is_v6()) return decode_fragment(ip.packet, ip.missing > 0);
  ++ignored_.ipv6_fragments;
  return std::nullopt;
}

std::optional<TcpSegment> SegmentDecoder::decode_fragment(Bytes fragment, bool snapped) {
  if (snapped) {
    ++ignored_.snapped_fragments;
    return std::nullopt;
  }
  auto whole = fragments_.add(fragment);
  if (!whole) return std::nullopt;
  datagram_ = std::move(*whole);
  return decode(datagram_, datagram_.size());
}

std::optional<TcpSegment> SegmentDecoder::decode_tcp(const wire::IpPacket& ip) {
  using wire::read_u16;
  using wire::read_u32;
  const Bytes segment = ip.payload;
  if (segment.size() < kTcpHeader) return malformed();
  const std::size_t header = std::size_t{segment[12]} / 16 * 4;
  if (header < kTcpHeader || header > segment.size()) return malformed();
  const std::uint8_t flags = segment[13];
  TcpSegment result;
  result.flow = {{IpAddress::from_bytes(ip.source), read_u16(segment, 0)},
                 {IpAddress::from_bytes(ip.destination), read_u16(segment, 2)}};
  result.syn = (flags & kSyn) != 0;
  result.fin = (flags & kFin) != 0;
  result.rst = (flags & kRst) != 0;
  result.sequence = read_u32(segment, 4) + (result.syn ? 1 : 0);
  if ((flags & kAck) != 0) result.acknowledged = read_u32(segment, 8);
  result.payload = segment.subspan(header);
  result.missing = ip.missing;
  return result;
}

std::optional<TcpSegment> SegmentDecoder::malformed() noexcept {
  ++ignored_.malformed;
  return std::nullopt;
}

}  // namespace serverd::pcap2stream
