#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace serverd::chat {

/// The end of what one peer is to be sent: bytes that are not known to be sent yet. Offsets count
/// from the connection's first byte of output. What is new becomes visible with `commit`.
class Output final {
 public:
  Output() = default;
  /// As an earlier worker left it.
  Output(std::uint64_t start, std::string bytes)
      : start_(start), committed_(bytes.size()), bytes_(std::move(bytes)) {}

  /// Append here.
  std::string& tail() noexcept { return bytes_; }
  std::uint64_t start() const noexcept { return start_ + sent_; }
  std::uint64_t end() const noexcept { return start_ + bytes_.size(); }
  std::uint64_t committed() const noexcept { return start_ + committed_; }
  std::size_t pending() const noexcept { return bytes_.size() - sent_; }
  std::string_view uncommitted() const noexcept {
    return std::string_view(bytes_).substr(committed_);
  }

  void commit() noexcept { committed_ = bytes_.size(); }
  void roll_back() { bytes_.resize(committed_); }

  /// What is committed behind the first `sent` bytes of the connection's output.
  std::span<const std::byte> after(std::uint64_t sent) {
    if (sent > end()) *this = Output(sent, {});  // an earlier worker's, and it left no trace
    sent_ = sent < start_ ? 0 : static_cast<std::size_t>(sent - start_);
    if (sent_ == bytes_.size() || sent_ > kKept) drop_sent();
    const std::string_view rest =
        std::string_view(bytes_).substr(sent_, committed_ < sent_ ? 0 : committed_ - sent_);
    return std::as_bytes(std::span(rest));
  }

 private:
  static constexpr std::size_t kKept = 16'384;

  void drop_sent() {
    start_ += sent_;
    committed_ -= sent_ < committed_ ? sent_ : committed_;
    bytes_.erase(0, sent_);
    if (bytes_.empty()) std::string().swap(bytes_);  // an idle client costs little
    sent_ = 0;
  }

  std::uint64_t start_ = 0;
  std::size_t sent_ = 0;
  std::size_t committed_ = 0;
  std::string bytes_;
};

}  // namespace serverd::chat
