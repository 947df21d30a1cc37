#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace serverd::http {

/// What one peer is to be sent and is not known to have been. Offsets count from the connection's
/// first byte of output. The bytes stand in one piece, so that one send(2) takes them all; once it
/// is large enough nothing is allocated any more.
class Outbox final {
 public:
  explicit Outbox(std::uint64_t start = 0) : start_(start) {}

  std::uint64_t end() const noexcept { return start_ + (tail_ - head_); }
  std::size_t pending() const noexcept { return tail_ - head_; }

  /// At least `size` bytes behind the end, to be written and then counted by `commit`.
  std::span<char> room(std::size_t size) {
    if (capacity_ - tail_ < size) make_room(size);
    return {bytes_.get() + tail_, capacity_ - tail_};
  }
  void commit(std::size_t size) noexcept { tail_ += size; }

  void append(std::string_view text) {
    if (text.empty()) return;
    std::memcpy(room(text.size()).data(), text.data(), text.size());
    commit(text.size());
  }

  /// The bytes from `offset` on, which is still pending.
  char* at(std::uint64_t offset) noexcept {
    return bytes_.get() + head_ + static_cast<std::size_t>(offset - start_);
  }
  /// Forgets what was appended behind `offset`, which is still pending.
  void cut(std::uint64_t offset) noexcept {
    tail_ = head_ + static_cast<std::size_t>(offset - start_);
  }

  /// What follows the connection's first `sent` bytes, of which nothing is needed any more.
  std::span<const std::byte> after(std::uint64_t sent) noexcept {
    const auto gone = static_cast<std::size_t>(std::clamp(sent, start_, end()) - start_);
    start_ += gone;
    head_ += gone;
    if (head_ == tail_) head_ = tail_ = 0;
    return std::as_bytes(std::span<const char>(bytes_.get() + head_, pending()));
  }

  /// Gives its memory back if it is empty and was large.
  void shrink() noexcept {
    if (pending() > 0 || capacity_ <= kKept) return;
    bytes_.reset();
    capacity_ = 0;
  }

 private:
  static constexpr std::size_t kKept = 4096;

  /// A buffer twice as large as what stands in it moves each byte at most once.
  void make_room(std::size_t size) {
    const std::size_t held = pending();
    if (held + size <= capacity_ / 2) {
      std::memmove(bytes_.get(), bytes_.get() + head_, held);
    } else {
      const std::size_t capacity = std::max({2 * (held + size), capacity_, kKept});
      auto larger = std::make_unique_for_overwrite<char[]>(capacity);
      if (held > 0) std::memcpy(larger.get(), bytes_.get() + head_, held);
      bytes_ = std::move(larger);
      capacity_ = capacity;
    }
    head_ = 0;
    tail_ = held;
  }

  std::uint64_t start_;
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
  std::size_t capacity_ = 0;
  std::unique_ptr<char[]> bytes_;
};

}  // namespace serverd::http
