#pragma once

#include <stdexcept>
#include <string>

namespace serverd {

/// Why an admin command could not do what it was asked to, and its exit code.
class AdminError final : public std::runtime_error {
 public:
  AdminError(int code, const std::string& what) : std::runtime_error(what), code_(code) {}
  int code() const noexcept { return code_; }

 private:
  int code_;
};

}  // namespace serverd
