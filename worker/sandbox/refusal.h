#pragma once

#include <string>

namespace serverd {

/// From now on a refused system call (SIGSYS, see SECCOMP_RET_TRAP in seccomp(2)) is named in a
/// line on standard error, which begins with `who`, and then the signal ends the process.
void report_refused_calls(const std::string& who);

}  // namespace serverd
