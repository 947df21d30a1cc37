#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace serverd {

/// Cuts a byte stream into lines of bounded length. LF or CR LF ends one; empty lines are skipped.
class LineReader final {
 public:
  explicit LineReader(std::size_t longest) : longest_(longest) {}

  void append(std::string_view bytes) { buffer_ += bytes; }
  /// The stream has ended, which ends a last line too.
  void end();
  /// The next line without its end; empty if there is none yet.
  std::optional<std::string> next();
  /// A line has not ended within the bound. Nothing more comes from `next` then.
  bool overflown() const noexcept;
  /// True if `next` will give a line.
  bool has_line() const noexcept;

 private:
  std::size_t longest_;
  std::string buffer_;
};

}  // namespace serverd
