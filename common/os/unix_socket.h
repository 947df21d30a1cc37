#pragma once

#include "common/os/unique_fd.h"

#include <string>

#include <sys/un.h>

namespace serverd {

/// The address of a UNIX socket in the file system, see unix(7). Throws std::system_error
/// (ENAMETOOLONG): paths of more than 107 bytes are not possible.
sockaddr_un unix_address(const std::string& path);

/// A non-blocking UNIX stream socket listening at `path`, which must not exist, with this file mode
/// before anybody can connect. Throws std::system_error.
UniqueFd listen_at(const std::string& path, mode_t mode, int backlog);

}  // namespace serverd
