#pragma once

#include <utility>

#include <unistd.h>

namespace serverd {

/// Owns one file descriptor and closes it once. A plain `int` elsewhere is borrowed.
///
/// `adopt` takes ownership and stands only beside the call that made the descriptor, so that every
/// place where ownership begins can be found by searching for it.
class UniqueFd final {
 public:
  UniqueFd() noexcept = default;
  static UniqueFd adopt(int fd) noexcept { return UniqueFd(fd); }

  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives ownership away; the caller must close what is returned (-1: there was none).
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept { reset(-1); }

 private:
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  void reset(int fd) noexcept {
    if (const int old = std::exchange(fd_, fd); old >= 0) ::close(old);
  }

  int fd_ = -1;
};

}  // namespace serverd
