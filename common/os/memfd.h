#pragma once

#include "common/os/unique_fd.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace serverd {

/// A memfd holding `text`, sealed against every change. `name` shows in /proc. Throws
/// std::system_error.
UniqueFd sealed_text(const char* name, std::string_view text);

/// A zero-filled memfd of `size` bytes, sealed against growing and shrinking, so that a mapping of
/// it can never fault. Only our own user can open it anew. Throws std::system_error.
UniqueFd sealed_memory(const char* name, std::size_t size);

/// True if `fd` is a memfd that carries all of `seals` (F_SEAL_…, fcntl(2)).
bool has_seals(int fd, int seals) noexcept;

/// The whole content of a file or memfd, whatever its offset. Throws std::system_error; EFBIG if it
/// is larger than `limit` bytes.
std::string read_all(int fd, std::size_t limit);

/// Owns a shared mapping of a whole descriptor; the descriptor may be closed afterwards.
class Mapping final {
 public:
  enum class Access { kRead, kReadWrite };

  Mapping() noexcept = default;
  /// Maps all of `fd`. Throws std::system_error (EINVAL if it is empty).
  Mapping(int fd, Access access);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  void* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace serverd
