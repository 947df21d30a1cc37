#include "common/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace serverd {
namespace {

struct Character {
  char32_t code;
  std::size_t length;  ///< in bytes; 0: not UTF-8
};

/// The first character of a text that is not empty.
Character decode_utf8(std::string_view text) {
  constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = lead < 0x80             ? 1
                             : (lead & 0xE0) == 0xC0 ? 2
                             : (lead & 0xF0) == 0xE0 ? 3
                             : (lead & 0xF8) == 0xF0 ? 4
                                                     : 0;
  if (length == 0 || length > text.size()) return {0, 0};
  char32_t code = length == 1 ? lead : lead & (0x7F >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((text[i] & 0xC0) != 0x80) return {0, 0};
    code = code << 6 | static_cast<char32_t>(text[i] & 0x3F);
  }
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kSmallest[length] || code > 0x10FFFF || surrogate) return {0, 0};
  return {code, length};
}

/// Controls (C0, DEL, C1), line and paragraph separators, and the marks that turn the direction of
/// writing (UAX #9).
bool is_unsafe(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0x200E || code == 0x200F || code == 0x061C;
}

}  // namespace

// Looks at all of it: without an early end the compiler takes many bytes at a time.
bool is_plain(std::string_view text) noexcept {
  unsigned others = 0;
  for (const char c : text) others |= static_cast<unsigned char>(c - ' ') >= 0x5F ? 1U : 0U;
  return others == 0;
}

std::string printable(std::string_view text) {
  if (is_plain(text)) return std::string(text);
  std::string result;
  while (!text.empty()) {
    const Character next = decode_utf8(text);
    if (next.length == 0)
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    else if (is_unsafe(next.code))
      result += next.code < 0x80 ? fmt::format("\\x{:02x}", static_cast<std::uint32_t>(next.code))
                                 : fmt::format("\\u{:04x}", static_cast<std::uint32_t>(next.code));
    else
      result += text.substr(0, next.length);
    text.remove_prefix(std::max<std::size_t>(next.length, 1));
  }
  return result;
}

}  // namespace serverd
