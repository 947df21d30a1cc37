#pragma once

#include "common/exit_code.h"

#include <stdexcept>
#include <string>

namespace serverd {

/// Why the daemon did not start: one line a problem, and the exit code that says its kind.
class StartFailure final : public std::runtime_error {
 public:
  StartFailure(ExitCode code, const std::string& lines) : std::runtime_error(lines), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

}  // namespace serverd
