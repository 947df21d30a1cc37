#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace serverd {

/// Why an admin command could not do what it was asked to, and its exit code.
class AdminError final : public std::runtime_error {
 public:
  AdminError(int code, const std::string& what, std::vector<std::string> reasons = {})
      : std::runtime_error(what), code_(code), reasons_(std::move(reasons)) {}
  int code() const noexcept { return code_; }
  /// Lines to be shown before it.
  const std::vector<std::string>& reasons() const noexcept { return reasons_; }

 private:
  int code_;
  std::vector<std::string> reasons_;
};

}  // namespace serverd
