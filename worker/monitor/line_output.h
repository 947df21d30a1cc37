#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace serverd {

/// Lines to a descriptor that somebody else reads, and that is never waited for: poll(2) says
/// whether a pipe takes PIPE_BUF bytes, and no more are written at once.
class LineOutput final {
 public:
  /// What is written at once, at most.
  static constexpr std::size_t kMostAtOnce = 4096;

  /// `fd` is borrowed.
  explicit LineOutput(int fd) noexcept : fd_(fd) {}

  /// Writes `text` (at most kMostAtOnce bytes), all or nothing; false if there is no room now.
  bool write(std::string_view text) noexcept;
  /// Writes `text` now, or as soon as `flush` can.
  void write_later(std::string_view text);
  /// True if nothing waits any more.
  bool flush() noexcept;
  bool waiting() const noexcept { return !waiting_.empty(); }

 private:
  bool write_once(std::string_view text) noexcept;

  int fd_;
  std::string waiting_;
  bool failing_ = false;
};

}  // namespace serverd
