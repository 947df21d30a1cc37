#pragma once

#include "common/os/unique_fd.h"

#include <string>
#include <vector>

namespace serverd {

/// A connection to the control socket of a running instance.
struct RunningInstance {
  std::string name;
  UniqueFd control;  ///< blocking, with a limit on how long
};

/// Where to look: the directory that `option` or a variable names, see runtime_root. Without any,
/// a user also sees what runs for the whole machine.
std::vector<std::string> runtime_roots(const std::string& option);

/// The instance `name`, or the only one that runs if that is empty. Throws AdminError: none runs
/// (kExitNotRunning), several do (kExitUsage, with their names), or they are not ours
/// (kExitPermission).
RunningInstance find_instance(const std::vector<std::string>& roots, const std::string& name);

}  // namespace serverd
