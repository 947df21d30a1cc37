#pragma once

#include "common/os/unique_fd.h"

#include <ctime>
#include <string>
#include <string_view>

namespace serverd::chat {

/// server_log.txt: every request and reply, `[2026-11-20 21:20:05] Client 4: LISTSERVERS`, control
/// bytes escaped. Lines are gathered and written at once by `flush`; a disk that takes none costs
/// lines, which is said, and nothing else.
class ServerLog final {
 public:
  explicit ServerLog(std::string path) : path_(std::move(path)) {}

  void add(std::time_t now, std::string_view who, std::string_view what);
  /// Forgets the lines that were not flushed.
  void discard() { lines_.clear(); }
  void flush() noexcept;
  /// Begins a new file if the old one was moved away.
  void reopen() noexcept { fd_.reset(); }

 private:
  std::string path_;
  UniqueFd fd_;
  std::string lines_;
  std::time_t stamped_ = -1;
  std::string stamp_;  ///< "[2026-11-20 21:20:05] "
  bool failing_ = false;
};

}  // namespace serverd::chat
