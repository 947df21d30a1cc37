#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// landlock(7): what a process may reach of files and of TCP, for good.
namespace serverd::landlock {

/// What may be done to files beneath a path.
enum Access : unsigned {
  kRead = 1,    ///< read files
  kList = 2,    ///< read directories
  kWrite = 4,   ///< create regular files, write, truncate
  kRemove = 8,  ///< remove files
};

struct PathRule {
  std::string path;
  unsigned access;
};

/// Everything else is refused, as far as the kernel can refuse it.
struct Rules {
  std::vector<PathRule> paths;  ///< one that does not exist is left out
  bool connects = false;        ///< TCP connections of our own
};

/// The oldest kernels that know Landlock have 1, from Linux 5.13 on; Debian 12's has 2. Throws
/// std::system_error where there is none.
int kernel_abi();

/// Restricts this thread and its children to come. no_new_privs must be set. `abi`: the kernel's,
/// or a lower one. Throws std::system_error; then nothing was restricted.
void restrict_to(const Rules& rules, int abi);

}  // namespace serverd::landlock
