#include "worker/monitor/monitor_text.h"

#include <fmt/format.h>

#include <algorithm>

namespace serverd::monitor {
namespace {

/// Length of the character that `lead` begins, as UTF-8 has it (RFC 3629); 1 for any other byte.
std::size_t character_length(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte >= 0xF0 && byte <= 0xF4) return 4;
  if (byte >= 0xE0 && byte < 0xF0) return 3;
  if (byte >= 0xC2 && byte < 0xE0) return 2;
  return 1;
}

/// How many bytes at the end are the beginning of a character that is not whole.
std::size_t torn_character(std::string_view text) noexcept {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const char byte = text[text.size() - back];
    if ((byte & 0xC0) == 0x80) continue;  // a continuation
    return character_length(byte) > back ? back : 0;
  }
  return 0;
}

}  // namespace

std::string peer_text(const SocketAddress& peer) {
  return fmt::format("('{}', {})", peer.host(), peer.port());
}

Piece next_piece(std::string_view bytes, std::size_t longest, bool last) noexcept {
  const std::string_view window = bytes.substr(0, longest);
  const std::size_t end = window.find('\n');
  if (end != std::string_view::npos) {
    std::string_view line = window.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return {end + 1, line, true};
  }
  std::string_view text = window;
  const bool more = !last || bytes.size() > longest;
  if (more) text.remove_suffix(text.ends_with('\r') ? 1 : torn_character(text));
  return {text.size(), text, false};
}

}  // namespace serverd::monitor
