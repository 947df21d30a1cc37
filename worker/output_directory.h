#pragma once

#include "common/os/unique_fd.h"

#include <string>
#include <system_error>

namespace serverd {

/// A service's output directory, held open. Files are reached relative to the descriptor; when the
/// directory has been replaced under its path, `refresh` follows the path again.
class OutputDirectory final {
 public:
  explicit OutputDirectory(std::string path) : path_(std::move(path)) {}

  const std::string& path() const noexcept { return path_; }
  /// O_PATH descriptor, opened when first asked for; -1 with `error` set if that fails.
  int descriptor(std::error_code& error) noexcept;
  /// Forgets the descriptor: the next use opens the path anew.
  void refresh() noexcept { fd_.reset(); }

 private:
  std::string path_;
  UniqueFd fd_;
};

}  // namespace serverd
