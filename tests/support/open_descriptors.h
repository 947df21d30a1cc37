#pragma once

#include <cstddef>
#include <filesystem>

namespace serverd::test {

/// How many descriptors this process has open; the one that looks is always counted.
inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

}  // namespace serverd::test
