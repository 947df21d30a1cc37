#pragma once

#include "common/config.h"
#include "supervisor/spawn.h"

#include <optional>
#include <string>

namespace serverd {

/// Where the files of `service` are.
std::string output_directory(const ServiceConfig& service);

/// Makes the directories that `service` writes to, parents included, and checks that its workers
/// will be able to create files in them. Throws StartFailure (exit 73) naming the directory.
void prepare_output(const ServiceConfig& service, const std::optional<UserIds>& user);

}  // namespace serverd
