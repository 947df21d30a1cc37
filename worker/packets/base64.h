#pragma once

#include "common/wire/bytes.h"

#include <cstddef>

namespace serverd::packets {

/// Characters that write_base64() writes for so many bytes.
constexpr std::size_t base64_size(std::size_t bytes) noexcept { return (bytes + 2) / 3 * 4; }

/// Writes `bytes` in base64 with padding (RFC 4648, section 4) to `out`, which has room for
/// base64_size(bytes.size()) characters. Returns the end of what was written; no NUL follows.
char* write_base64(char* out, wire::Bytes bytes) noexcept;

}  // namespace serverd::packets
