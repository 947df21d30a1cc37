#include "worker/output_directory.h"

#include <cerrno>

#include <fcntl.h>

namespace serverd {

int OutputDirectory::descriptor(std::error_code& error) noexcept {
  if (!fd_) fd_ = UniqueFd::adopt(::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd_) error.assign(errno, std::generic_category());
  return fd_.get();
}

}  // namespace serverd
