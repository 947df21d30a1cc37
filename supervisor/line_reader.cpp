#include "supervisor/line_reader.h"

namespace serverd {

void LineReader::end() {
  if (!buffer_.empty() && buffer_.back() != '\n') buffer_ += '\n';
}

bool LineReader::overflown() const noexcept {
  const std::size_t begin = buffer_.find_first_not_of("\r\n");
  if (begin == std::string::npos) return false;
  return std::min(buffer_.find('\n', begin), buffer_.size()) - begin > longest_;
}

bool LineReader::has_line() const noexcept {
  const std::size_t begin = buffer_.find_first_not_of("\r\n");
  return begin != std::string::npos && buffer_.find('\n', begin) != std::string::npos &&
         !overflown();
}

std::optional<std::string> LineReader::next() {
  buffer_.erase(0, buffer_.find_first_not_of("\r\n"));
  const std::size_t end = buffer_.find('\n');
  if (end == std::string::npos || end > longest_) return std::nullopt;
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  if (line.back() == '\r') line.pop_back();
  return line;
}

}  // namespace serverd
