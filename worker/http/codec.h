#pragma once

#include "worker/http/head_check.h"
#include "worker/http/message.h"
#include "worker/http/outbox.h"

#include <cstddef>
#include <string_view>
#include <vector>

namespace serverd::http {

/// Takes requests off a connection's stream, one by one.
class RequestReader final {
 public:
  struct Limits {
    HeadScan::Limits head;
    std::size_t body = 32'768;    ///< bytes, chunks joined
    std::size_t framed = 49'152;  ///< bytes of the body as it comes, with the framing of its chunks
  };
  explicit RequestReader(const Limits& limits) : limits_(limits) {}

  enum class Event {
    kNeedMore,  ///< no whole request yet; `consumed` bytes before it are nothing
    kRequest,
    kRefused  ///< and nothing after it can be understood
  };
  struct Step {
    Event event;
    std::size_t consumed = 0;
    Refusal refusal{};
    bool expects_continue = false;  ///< with kNeedMore: the peer waits for 100 before the body
  };
  /// `bytes` begin where the last request ended, and must grow until something is consumed.
  /// `request` is valid with kRequest, as long as `bytes` are.
  Step next(std::string_view bytes, Request& request);

 private:
  Step read(std::string_view bytes, Request& request);

  Limits limits_;
  HeadScan scan_;
};

/// The head of a response.
struct ResponseHead {
  unsigned status = 200;
  std::vector<Field> fields{};
};

/// Appends status line, fields and the empty line.
void append_head(Outbox& out, const ResponseHead& head);

/// "Not Found" for 404.
std::string_view reason_of(unsigned status) noexcept;

}  // namespace serverd::http
