#pragma once

#include "worker/sandbox/syscall_filter.h"

#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace serverd {

/// What the worker of one protocol may do beyond what every worker may: a row of a plain table.
struct SandboxPolicy {
  std::string_view protocol;
  std::span<const SyscallRule> calls = {};
  unsigned output = 0;                      ///< landlock::Access to its output directory
  std::span<const char* const> reads = {};  ///< what else it may read
  bool connects = false;                    ///< makes TCP connections of its own
  std::optional<unsigned> capability = {};  ///< the one that it keeps
};

/// The row of a protocol; one that is not in the table may do only what every worker may.
const SandboxPolicy& sandbox_policy(std::string_view protocol) noexcept;

/// Every system call that a worker with this policy may make. Some are bound to this process, by
/// its number.
std::vector<SyscallRule> allowed_calls(const SandboxPolicy& policy);

/// What every worker may read, and its keeper.
std::span<const char* const> common_reads() noexcept;

}  // namespace serverd
