#pragma once

#include "supervisor/spawn.h"

#include <optional>
#include <string>

namespace serverd {

/// Whom workers run as: empty when we are not root or `name` is "". Throws StartFailure if there is
/// no such user.
std::optional<UserIds> worker_user(const std::string& name);

}  // namespace serverd
