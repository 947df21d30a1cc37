#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace serverd {

/// Holds for a call if `argument & mask` has this value.
struct ArgumentRule {
  unsigned argument;  ///< 0 .. 5
  std::uint64_t mask;
  std::uint64_t value;
};

/// A system call that is allowed: always, or while all of its arguments are as said. Of several
/// rules for one call, one is enough.
struct SyscallRule {
  const char* name;  ///< as in syscalls(2); one that this machine does not have is left out
  std::array<ArgumentRule, 2> arguments = {};  ///< those with a mask of 0 say nothing
};

/// Refuses every system call but these, for this process and its children to come, with SIGSYS for
/// whoever makes it; seccomp(2). no_new_privs must be set. Throws std::system_error; then nothing
/// is refused.
void allow_only(std::span<const SyscallRule> rules);

/// The names of this machine's system calls, in the order of their numbers from 0 on; empty where
/// there is none.
std::vector<std::string> syscall_names();

}  // namespace serverd
