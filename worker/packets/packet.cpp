#include "worker/packets/packet.h"

#include "common/wire/ip_packet.h"
#include "common/wire/link_layer.h"

#include <algorithm>
#include <optional>

namespace serverd::packets {
namespace {

using wire::Bytes;
using wire::read_u16;
using wire::read_u32;

using AnyTransport = std::variant<Tcp, Udp>;

constexpr std::size_t kTcpHeader = 20;
constexpr std::size_t kUdpHeader = 8;

/// Only the segment's beginning may be there (`cut`): its options may end before they should.
std::optional<Tcp> read_tcp(Bytes segment, bool cut) noexcept {
  if (segment.size() < kTcpHeader) return std::nullopt;
  Tcp tcp;
  tcp.source_port = read_u16(segment, 0);
  tcp.destination_port = read_u16(segment, 2);
  tcp.sequence = read_u32(segment, 4);
  tcp.acknowledgment = read_u32(segment, 8);
  tcp.data_offset = segment[12] >> 4;
  tcp.flags = read_u16(segment, 12) & 0x1ff;
  tcp.window = read_u16(segment, 14);
  tcp.checksum = read_u16(segment, 16);
  tcp.urgent = read_u16(segment, 18);
  const std::size_t header = std::size_t{tcp.data_offset} * 4;
  if (header < kTcpHeader || (header > segment.size() && !cut)) return std::nullopt;
  const std::size_t captured = std::min(header, segment.size());
  tcp.options = segment.subspan(kTcpHeader, captured - kTcpHeader);
  tcp.payload = segment.subspan(captured);
  return tcp;
}

/// A length of 0: segmentation offload, or a jumbogram (RFC 2675); all that is there belongs to it.
std::optional<Udp> read_udp(Bytes datagram) noexcept {
  if (datagram.size() < kUdpHeader) return std::nullopt;
  Udp udp;
  udp.source_port = read_u16(datagram, 0);
  udp.destination_port = read_u16(datagram, 2);
  udp.length = read_u16(datagram, 4);
  udp.checksum = read_u16(datagram, 6);
  if (udp.length > 0 && udp.length < kUdpHeader) return std::nullopt;
  const std::size_t end = udp.length == 0 ? datagram.size() : udp.length;
  udp.payload = datagram.first(std::min(end, datagram.size())).subspan(kUdpHeader);
  return udp;
}

Outcome read_transport(const wire::IpPacket& ip, Packet& packet) noexcept {
  if (ip.kind == wire::IpPacket::Kind::kMalformed) return Outcome::kMalformed;
  if (ip.protocol != wire::kProtocolTcp && ip.protocol != wire::kProtocolUdp)
    return Outcome::kOtherProtocol;
  if (ip.kind == wire::IpPacket::Kind::kLaterFragment) return Outcome::kLaterFragment;
  packet.source = ip.source;
  packet.destination = ip.destination;
  if (ip.protocol == wire::kProtocolTcp) {
    const bool cut = ip.missing > 0 || ip.kind == wire::IpPacket::Kind::kFirstFragment;
    const std::optional<Tcp> tcp = read_tcp(ip.payload, cut);
    if (!tcp) return Outcome::kMalformed;
    packet.transport = AnyTransport(*tcp);
  } else {
    const std::optional<Udp> udp = read_udp(ip.payload);
    if (!udp) return Outcome::kMalformed;
    packet.transport = AnyTransport(*udp);
  }
  return Outcome::kPacket;
}

}  // namespace

Decoded decode(const Frame& frame) noexcept {
  Decoded decoded;
  const std::optional<wire::LinkType> type = wire::link_type_of(frame.link_type);
  if (!type) {
    decoded.outcome = Outcome::kOtherLinkType;
    return decoded;
  }
  const wire::LinkPayload link = wire::strip_link_layer(*type, frame.bytes);
  if (link.kind != wire::LinkPayload::Kind::kIp) {
    decoded.outcome =
        link.kind == wire::LinkPayload::Kind::kCut ? Outcome::kMalformed : Outcome::kOtherProtocol;
    return decoded;
  }
  const std::size_t link_header = frame.bytes.size() - link.packet.size();
  const std::size_t wire_size =
      std::max<std::size_t>(frame.original_length, frame.bytes.size()) - link_header;
  decoded.packet.timestamp_ns = frame.timestamp_ns;
  decoded.packet.original_length = frame.original_length;
  decoded.outcome = read_transport(wire::read_ip(link.packet, wire_size), decoded.packet);
  return decoded;
}

}  // namespace serverd::packets
