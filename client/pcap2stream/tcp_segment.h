#pragma once

#include "client/pcap2stream/flow_id.h"
#include "client/pcap2stream/ip_fragments.h"
#include "common/wire/ip_packet.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace serverd::pcap2stream {

struct TcpSegment {
  FlowId flow;
  std::uint32_t sequence = 0;  ///< of the first payload byte: one more than the header's in a SYN
  std::optional<std::uint32_t> acknowledged;
  bool syn = false;
  bool fin = false;
  bool rst = false;
  Bytes payload;            ///< what was captured of it
  std::size_t missing = 0;  ///< payload bytes after those, cut off by the capture's snap length
};

/// Packets that could not be used, for the summary.
struct IgnoredPackets {
  std::uint64_t malformed = 0;          ///< or cut within their IP or TCP header
  std::uint64_t snapped_fragments = 0;  ///< IPv4 fragments that are not whole
  std::uint64_t ipv6_fragments = 0;
};

/// Finds the TCP segment (RFC 9293) in an IP packet. Checksums are not looked at: see
/// wire::read_ip().
class SegmentDecoder final {
 public:
  /// `packet` may be followed by padding; `wire_size` is its size before it was snapped. Empty if
  /// there is no TCP segment, or only a part of one so far. The segment borrows from `packet`, or
  /// from this object until the next call.
  std::optional<TcpSegment> decode(Bytes packet, std::size_t wire_size);

  const IgnoredPackets& ignored() const noexcept { return ignored_; }
  /// See IpFragments.
  std::uint64_t unused_fragment_bytes() const noexcept { return fragments_.unused_bytes(); }

 private:
  std::optional<TcpSegment> decode_fragment(Bytes fragment, bool snapped);
  std::optional<TcpSegment> decode_tcp(const wire::IpPacket& ip);
  std::optional<TcpSegment> malformed() noexcept;

  IgnoredPackets ignored_;
  IpFragments fragments_;
  std::vector<std::uint8_t> datagram_;
};

}  // namespace serverd::pcap2stream
