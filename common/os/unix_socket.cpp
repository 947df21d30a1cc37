#include "common/os/unix_socket.h"

#include "common/os/error.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>

namespace serverd {

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw_system_error(ENAMETOOLONG, path + " (choose a shorter --runtime-dir)");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

UniqueFd listen_at(const std::string& path, mode_t mode, int backlog) {
  const sockaddr_un address = unix_address(path);
  UniqueFd fd = UniqueFd::adopt(check_call(
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket for " + path));
  check_call(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
             "bind " + path);
  check_call(::chmod(path.c_str(), mode), "chmod " + path);
  check_call(::listen(fd.get(), backlog), "listen " + path);
  return fd;
}

}  // namespace serverd
