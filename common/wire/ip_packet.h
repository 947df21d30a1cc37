#pragma once

#include "common/wire/bytes.h"

#include <cstddef>
#include <cstdint>

namespace serverd::wire {

inline constexpr std::uint8_t kProtocolTcp = 6;
inline constexpr std::uint8_t kProtocolUdp = 17;

/// An IPv4 or IPv6 packet (RFC 791, 8200), its options and extension headers passed over. All spans
/// borrow from the bytes it was read from.
struct IpPacket {
  enum class Kind {
    kWhole,
    kFirstFragment,  ///< the transport header and the beginning of what it carries
    kLaterFragment,  ///< no transport header
    kMalformed,      ///< or cut within its headers; nothing else here is valid
  };

  Kind kind = Kind::kMalformed;
  std::uint8_t protocol = 0;  ///< after the extension headers: an IP protocol number
  Bytes source;               ///< 4 or 16 bytes
  Bytes destination;          ///< as many
  Bytes packet;               ///< the whole packet, without padding, as far as it was captured
  Bytes payload;              ///< of it, what follows the headers
  std::size_t missing = 0;    ///< payload bytes after those, cut off by the capture's snap length

  bool is_v6() const noexcept { return source.size() == 16; }
};

/// `packet` may be followed by padding; `wire_size` is its size before it was snapped. Checksums
/// are not looked at: they are wrong in captures from machines whose network card computes them.
IpPacket read_ip(Bytes packet, std::size_t wire_size) noexcept;

}  // namespace serverd::wire
