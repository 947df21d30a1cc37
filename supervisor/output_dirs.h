#pragma once

#include "common/config.h"
#include "supervisor/spawn.h"

#include <optional>
#include <string>

namespace serverd {

/// Makes the directories that `service` writes to, parents included, and checks that its workers
/// will be able to create files in them: as `user`, or as we are, where a sandbox leaves root no
/// capabilities. Throws StartFailure (exit 73) naming the directory.
void prepare_output(const ServiceConfig& service, const std::optional<UserIds>& user,
                    SandboxMode sandbox);

}  // namespace serverd
