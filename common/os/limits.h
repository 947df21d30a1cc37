#pragma once

namespace serverd {

/// Raises the soft limit of open descriptors to the hard one, see RLIMIT_NOFILE in getrlimit(2):
/// each connection and each port takes some. What cannot be raised stays as it is.
void raise_descriptor_limit() noexcept;

}  // namespace serverd
