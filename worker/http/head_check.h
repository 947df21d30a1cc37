#pragma once

#include <cstddef>
#include <string_view>

namespace serverd::http {

/// What a request is refused for: a status and a few words, for the answer's body.
struct Refusal {
  unsigned status = 0;  ///< 0: none
  std::string_view why;
};

/// Looks for the end of a request's head while it arrives, and at every line of it as strictly as
/// RFC 9112 allows: where two readers of one stream could see different requests in it, it is
/// refused. Lines end with CR LF, nothing is folded, there are no control characters.
class HeadScan final {
 public:
  struct Limits {
    std::size_t head = 16'384;         ///< bytes of request line and fields
    std::size_t request_line = 8'192;  ///< bytes of these
    unsigned fields = 100;
  };

  /// `bytes` begin with the request; may be called again with more of them.
  enum class State { kNeedMore, kWhole, kRefused };
  State look(std::string_view bytes, const Limits& limits) noexcept;

  /// Bytes of the head with its empty line, once it is whole.
  std::size_t size() const noexcept { return at_; }
  const Refusal& refusal() const noexcept { return refusal_; }

 private:
  State refuse(unsigned status, std::string_view why) noexcept;
  State end_line(std::string_view bytes, const Limits& limits) noexcept;

  std::size_t at_ = 0;    ///< looked at until here
  std::size_t line_ = 0;  ///< where this line begins
  unsigned lines_ = 0;
  State state_ = State::kNeedMore;
  Refusal refusal_;
};

/// The number of empty lines' bytes at the beginning, which a server ignores before a request
/// (RFC 9112, section 2.2).
std::size_t empty_lines(std::string_view bytes) noexcept;

}  // namespace serverd::http
