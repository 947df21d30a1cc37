#pragma once

#include <string>

namespace serverd {

/// Throws std::system_error for the errno value `error`; `what` names the call and its object, as
/// in "bind 0.0.0.0:9000".
[[noreturn]] void throw_system_error(int error, const std::string& what);

/// Returns `result` of a system call, or throws std::system_error with errno when it is negative.
/// For set-up code; running I/O looks at errno itself.
int check_call(int result, const std::string& what);

/// The text of an errno value ("No space left on device").
std::string error_text(int error);

}  // namespace serverd
