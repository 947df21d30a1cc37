#pragma once

#include "common/wire/bytes.h"

#include <cstdint>
#include <variant>

namespace serverd::packets {

/// A frame as libpcap delivers it. Borrows its bytes.
struct Frame {
  int link_type = 0;                  ///< as pcap_datalink(3PCAP) says
  std::uint64_t timestamp_ns = 0;     ///< since the epoch
  std::uint32_t original_length = 0;  ///< on the wire; more than bytes.size() if snapped
  wire::Bytes bytes;                  ///< as captured
};

/// RFC 9293, section 3.1.
struct Tcp {
  enum Flag : std::uint16_t {
    kFin = 0x001,
    kSyn = 0x002,
    kRst = 0x004,
    kPsh = 0x008,
    kAck = 0x010,
    kUrg = 0x020,
    kEce = 0x040,
    kCwr = 0x080,
    kNs = 0x100,  ///< RFC 3540; RFC 9768 calls it AE
  };

  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
  std::uint8_t data_offset = 0;  ///< 5 to 15, in units of four bytes
  std::uint16_t flags = 0;       ///< of Flag
  std::uint16_t window = 0;
  std::uint16_t checksum = 0;
  std::uint16_t urgent = 0;
  wire::Bytes options;  ///< not looked at: TcpOptions
  wire::Bytes payload;  ///< what was captured of it, without padding
};

/// RFC 768.
struct Udp {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint16_t length = 0;  ///< as it stands in the header; 0 in an offloaded or jumbo datagram
  std::uint16_t checksum = 0;
  wire::Bytes payload;  ///< what was captured of it, without padding
};

/// A TCP or UDP packet. Borrows from its frame.
struct Packet {
  std::uint64_t timestamp_ns = 0;
  std::uint32_t original_length = 0;  ///< of the frame
  wire::Bytes source;                 ///< an IPv4 or IPv6 address: 4 or 16 bytes
  wire::Bytes destination;            ///< as many
  std::variant<Tcp, Udp> transport;
};

/// What became of a frame.
enum class Outcome {
  kPacket,         ///< decoded
  kOtherLinkType,  ///< of a link type we cannot strip, see wire::link_type_of()
  kOtherProtocol,  ///< neither TCP nor UDP over IP
  kLaterFragment,  ///< a fragment without a transport header
  kMalformed,      ///< headers that contradict themselves, or end before they should
};
inline constexpr std::size_t kOutcomes = 5;

struct Decoded {
  Outcome outcome = Outcome::kMalformed;
  Packet packet;  ///< valid with kPacket
};

/// Strips VLAN tags, IPv4 options and IPv6 extension headers. Never reads beyond `frame.bytes`,
/// neither allocates nor copies payload. A packet whose payload (or whose TCP options) the snap
/// length cut off is a packet with what is left of them; one whose fixed TCP or UDP header is not
/// whole is kMalformed.
Decoded decode(const Frame& frame) noexcept;

}  // namespace serverd::packets
