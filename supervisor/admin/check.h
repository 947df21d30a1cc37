#pragma once

#include <string>

namespace serverd {

/// `stream-serverd check`: says on standard output that the file is right, or on standard error
/// what is wrong with it. Returns the exit code.
int check_config(const std::string& file);

}  // namespace serverd
