#include "worker/http/head_check.h"

namespace serverd::http {
namespace {

/// RFC 9110, section 5.6.2.
bool is_token_character(char c) noexcept {
  if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_control(char c) noexcept {
  return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F;
}

}  // namespace

HeadScan::State HeadScan::refuse(unsigned status, std::string_view why) noexcept {
  refusal_ = {status, why};
  return state_ = State::kRefused;
}

HeadScan::State HeadScan::look(std::string_view bytes, const Limits& limits) noexcept {
  if (state_ != State::kNeedMore) return state_;
  while (at_ < bytes.size()) {
    if (at_ >= limits.head) return refuse(431, "the head of the request is too large");
    const char c = bytes[at_];
    if (lines_ == 0 && at_ == 0 && !is_token_character(c))
      return refuse(400, "not a request of HTTP");
    if (lines_ == 0 && at_ >= limits.request_line) return refuse(414, "the target is too long");
    if (c == '\n') return refuse(400, "a line ends without CR");
    if (c == '\r') {
      if (at_ + 1 == bytes.size()) return state_;
      if (bytes[at_ + 1] != '\n') return refuse(400, "CR without LF");
      if (end_line(bytes, limits) != State::kNeedMore) return state_;
      continue;
    }
    if (is_control(c)) return refuse(400, "a control character");
    if (at_ == line_ && (c == ' ' || c == '\t')) return refuse(400, "a folded line");
    ++at_;
  }
  return state_;
}

/// At the CR of a CR LF.
HeadScan::State HeadScan::end_line(std::string_view bytes, const Limits& limits) noexcept {
  const std::string_view line = bytes.substr(line_, at_ - line_);
  at_ += 2;
  line_ = at_;
  if (line.empty()) return state_ = State::kWhole;
  if (lines_ > limits.fields) return refuse(431, "too many fields");
  if (lines_++ == 0) return state_;
  const std::size_t colon = line.find(':');
  if (colon == line.npos || colon == 0) return refuse(400, "a field without a name");
  for (const char c : line.substr(0, colon))
    if (!is_token_character(c)) return refuse(400, "a field's name has a character too many");
  return state_;
}

std::size_t empty_lines(std::string_view bytes) noexcept {
  std::size_t size = 0;
  while (bytes.substr(size).starts_with("\r\n")) size += 2;
  return size;
}

}  // namespace serverd::http
