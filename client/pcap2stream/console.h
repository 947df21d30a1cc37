#pragma once

#include <string_view>

namespace serverd::pcap2stream {

/// What the user sees: result lines on stdout, remarks on stderr, and, on a terminal only, one
/// progress line on stderr that gives way to either.
class Console final {
 public:
  Console();
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  void result(std::string_view line);
  void remark(std::string_view line);
  bool shows_progress() const noexcept { return terminal_; }
  void progress(std::string_view text);

 private:
  void clear_progress();

  bool terminal_;
  bool progress_shown_ = false;
};

}  // namespace serverd::pcap2stream
