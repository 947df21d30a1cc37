#pragma once

#include "common/os/unique_fd.h"

#include <vector>

#include <sys/socket.h>

namespace serverd {

/// The descriptors that recvmsg(2) received with a message (SCM_RIGHTS, unix(7)); who does not want
/// any lets them go, which closes them.
std::vector<UniqueFd> received_descriptors(msghdr& header);

}  // namespace serverd
