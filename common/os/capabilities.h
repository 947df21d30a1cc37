#pragma once

#include <cstdint>
#include <optional>

namespace serverd {

/// Gives up every capability of this process for good, except `kept` (a CAP_… of capabilities(7))
/// if it has that one. With all of them go what programs that it executes could get and, where that
/// is permitted, the bounding set. Throws std::system_error.
void drop_capabilities(std::optional<unsigned> kept = std::nullopt);

/// While it lives, this thread acts without capabilities: what root may do then is what the modes
/// of files say. Throws std::system_error.
class WithoutCapabilities final {
 public:
  WithoutCapabilities();
  ~WithoutCapabilities();
  WithoutCapabilities(const WithoutCapabilities&) = delete;
  WithoutCapabilities& operator=(const WithoutCapabilities&) = delete;

 private:
  std::uint64_t effective_;
};

}  // namespace serverd
