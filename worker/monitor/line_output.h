#pragma once

#include "common/os/unique_fd.h"

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

  /// `fd` is borrowed. A pipe is opened anew, so that other writers to it cannot make us wait;
  /// where it belongs to somebody else that fails, and poll(2) alone must do.
  explicit LineOutput(int fd);

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
  UniqueFd own_;  ///< `fd_` if it could be opened anew
  std::string waiting_;
  bool failing_ = false;
};

}  // namespace serverd
