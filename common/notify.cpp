#include "common/notify.h"

#include "common/log.h"
#include "common/os/error.h"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>

namespace serverd {

Notifier Notifier::from_environment() {
  Notifier notifier;
  const char* variable = std::getenv("NOTIFY_SOCKET");
  if (variable == nullptr) return notifier;
  const std::string path = variable;
  ::unsetenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() < 2 || path.size() >= sizeof address.sun_path ||
      (path[0] != '/' && path[0] != '@')) {
    log::warning("NOTIFY_SOCKET={}: neither an absolute path nor @ and an abstract name", path);
    return notifier;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (path[0] == '@')
    address.sun_path[0] = '\0';
  else
    ++size;
  UniqueFd fd = UniqueFd::adopt(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    log::warning("NOTIFY_SOCKET={}: {}", path, error_text(errno));
    return notifier;
  }
  notifier.socket_ = std::move(fd);
  return notifier;
}

bool Notifier::send(std::string_view lines) const noexcept {
  return socket_ && ::send(socket_.get(), lines.data(), lines.size(),
                           MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(lines.size());
}

}  // namespace serverd
