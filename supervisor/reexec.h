#pragma once

#include <string>
#include <vector>

namespace serverd {

/// How this program was started, so that it can be started again in the same way.
struct ProgramStart {
  std::string path;                    ///< of the program's file, which an upgrade replaces
  std::vector<std::string> arguments;  ///< behind argv[0]
  std::vector<std::string> variables;  ///< the environment, "NAME=value"

  /// Called before anything changes the environment. Throws std::filesystem::filesystem_error.
  static ProgramStart remember(int argc, char** argv);
};

/// Replaces this process by the program at `start.path`, under the same pid and with the same
/// children, and hands `state` over by the contract of common/handoff.h. Number 3 must be a
/// reserved one (reserve_handoff_numbers). Returns an errno value if that failed, with nothing
/// changed.
int reexec(const ProgramStart& start, int state);

}  // namespace serverd
