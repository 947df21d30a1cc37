#pragma once

#include "common/os/socket.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace serverd::monitor {

/// "('127.0.0.1', 33406)"
std::string peer_text(const SocketAddress& peer);

struct Piece {
  std::size_t length = 0;   ///< bytes of the input that it shows, line end included; 0: none yet
  std::string_view text{};  ///< without the line end
  bool whole_line = false;
};

/// The next line, or beginning of a line, that can be shown of `bytes` (not empty), at most
/// `longest` bytes of it (at least 8). What may be the first part of a character or of a line end
/// is left for later, unless it is the `last` there is.
Piece next_piece(std::string_view bytes, std::size_t longest, bool last) noexcept;

}  // namespace serverd::monitor
