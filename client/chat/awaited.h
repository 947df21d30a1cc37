#pragma once

#include "common/wire/tsam_command.h"

#include <cstddef>
#include <deque>
#include <string_view>

namespace serverd::chat {

/// Which requests the server has yet to answer. Answers come in the order of their requests, so one
/// that is answered takes those before it along: a server may know nothing to say to them.
class Awaited final {
 public:
  /// After the command `text` was sent. `own`: by the program itself, not by its user.
  void sent(std::string_view text, bool own = false);
  /// After `text` was received. True if it answers a request of the program itself.
  bool received(std::string_view text);

  bool empty() const noexcept { return requests_.empty(); }

 private:
  /// More are not told apart from "many": nobody waits for each of them.
  static constexpr std::size_t kMost = 100'000;

  struct Request {
    tsam::Verb verb;
    bool own;
  };

  std::deque<Request> requests_;
};

}  // namespace serverd::chat
