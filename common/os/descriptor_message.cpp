#include "common/os/descriptor_message.h"

#include <cstring>

namespace serverd {

std::vector<UniqueFd> received_descriptors(msghdr& header) {
  std::vector<UniqueFd> descriptors;
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(item) + i * sizeof fd, sizeof fd);
      descriptors.push_back(UniqueFd::adopt(fd));
    }
  }
  return descriptors;
}

}  // namespace serverd
