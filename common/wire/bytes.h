#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace serverd::wire {

/// Borrowed bytes of a packet.
using Bytes = std::span<const std::uint8_t>;

/// Big-endian fields, as all of TCP/IP has them. The caller has checked the size.
inline std::uint16_t read_u16(Bytes bytes, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

inline std::uint32_t read_u32(Bytes bytes, std::size_t at) noexcept {
  return std::uint32_t{read_u16(bytes, at)} << 16 | read_u16(bytes, at + 2);
}

}  // namespace serverd::wire
