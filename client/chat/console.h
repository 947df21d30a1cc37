#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace serverd::chat {

/// Where the user's lines come from, and where everything is shown.
class Console {
 public:
  virtual ~Console() = default;

  /// The next line, without its end. Turns the loop while it waits. Empty when the input has ended,
  /// and as soon as `give_up` holds.
  virtual std::optional<std::string> next_line(const std::function<bool()>& give_up) = 0;
  /// Shows a line, which must be safe on a terminal.
  virtual void show(std::string_view line) = 0;
  /// The terminal has another size now.
  virtual void resized() = 0;
  /// Somebody sits there and has seen the answers: nothing needs to be waited for at the end.
  virtual bool interactive() const = 0;
};

}  // namespace serverd::chat
