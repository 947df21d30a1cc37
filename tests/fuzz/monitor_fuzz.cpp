#include "common/printable.h"
#include "worker/monitor/monitor_text.h"

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <cwctype>
#include <string>
#include <string_view>

/// However bytes arrive, the pieces that are shown of them cover them, each is safe on a terminal,
/// and no character of a text is torn.
///
/// Input: a byte, how long a piece may be (8 to 263 bytes); a byte, the size of a chunk; the bytes.
namespace {

using namespace serverd;

void check(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

/// By the C library, which is another decoder than ours.
bool is_safe_text(std::string_view text) {
  std::mbstate_t state{};
  while (!text.empty()) {
    wchar_t character = 0;
    const std::size_t length = std::mbrtowc(&character, text.data(), text.size(), &state);
    if (length == 0 || length > text.size() || std::iswcntrl(static_cast<wint_t>(character)) != 0)
      return false;
    text.remove_prefix(length);
  }
  return true;
}

struct Shown {
  std::string text;        ///< of all pieces, with a line feed after each whole line
  std::size_t length = 0;  ///< of the input
};

/// The pieces that can be shown of `waiting` now.
void show(std::string& waiting, std::size_t longest, bool last, Shown& shown) {
  while (!waiting.empty()) {
    const monitor::Piece piece = monitor::next_piece(waiting, longest, last);
    if (piece.length == 0) {
      check(!last && waiting.size() <= 3, "waits for nothing");
      return;
    }
    check(piece.length <= longest, "too long");
    const std::string_view covered = std::string_view(waiting).substr(0, piece.length);
    const std::string_view end = covered.substr(std::min(covered.size(), piece.text.size()));
    check(covered.starts_with(piece.text), "not what is there");
    check(piece.whole_line ? end == "\n" || end == "\r\n" : end.empty(), "not what ends a line");
    const std::string text = printable(piece.text);
    check(is_safe_text(text), "not safe on a terminal");
    shown.text += text + (piece.whole_line ? "\n" : "");
    shown.length += piece.length;
    waiting.erase(0, piece.length);
  }
}

/// The input as it should look if nothing of it needs an escape; empty if something does.
std::string as_plain_text(const std::string& input) {
  std::string lines = input;
  std::replace(lines.begin(), lines.end(), '\n', ' ');
  return printable(lines) == lines ? input : "";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  static const bool utf8 = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr;
  check(utf8, "the C library has no UTF-8");
  if (size < 2) return 0;
  const std::size_t longest = 8U + data[0];
  const std::size_t chunk = 1U + data[1];
  const std::string input(reinterpret_cast<const char*>(data) + 2, size - 2);
  Shown shown;
  std::string waiting;
  for (std::size_t at = 0; at < input.size(); at += chunk) {
    waiting += input.substr(at, chunk);
    show(waiting, longest, at + chunk >= input.size(), shown);
  }
  check(shown.length == input.size() && waiting.empty(), "not all of it");
  const std::string plain = as_plain_text(input);
  check(plain.empty() || shown.text == plain, "a plain text is not shown as it is");
  return 0;
}
