#include "common/os/error.h"

#include <cerrno>
#include <system_error>

namespace serverd {

void throw_system_error(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

int check_call(int result, const std::string& what) {
  if (result < 0) throw_system_error(errno, what);
  return result;
}

std::string error_text(int error) { return std::generic_category().message(error); }

}  // namespace serverd
