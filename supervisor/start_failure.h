#pragma once

#include "common/exit_code.h"

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace serverd {

/// Why the daemon did not start: one line a problem, and the exit code that says its kind.
class StartFailure final : public std::runtime_error {
 public:
  StartFailure(ExitCode code, const std::string& lines) : std::runtime_error(lines), code_(code) {}
  ExitCode code() const noexcept { return code_; }

  std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    std::istringstream text(what());
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
  }

 private:
  ExitCode code_;
};

}  // namespace serverd
