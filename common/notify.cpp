#include "common/notify.h"

#include "common/log.h"
#include "common/os/error.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

bool Notifier::send(std::string_view lines, std::span<const int> descriptors) const noexcept {
  if (!socket_ || descriptors.size() > kNotifyDescriptors) return false;
  alignas(cmsghdr) char control[CMSG_SPACE(kNotifyDescriptors * sizeof(int))] = {};
  iovec part{const_cast<char*>(lines.data()), lines.size()};  // only read by sendmsg(2)
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  }
  return ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(lines.size());
}

namespace {

/// The value of a variable that must be a positive number; 0 if it is not. Unsets it.
std::uint64_t take_number(const char* name) {
  const char* variable = std::getenv(name);
  if (variable == nullptr) return 0;
  const std::string_view text = variable;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good = error == std::errc() && end == text.data() + text.size() && value > 0;
  if (!good) log::warning("{}={}: not a positive number", name, text);
  ::unsetenv(name);
  return good ? value : 0;
}

}  // namespace

std::chrono::microseconds take_watchdog_interval() {
  const bool addressed = std::getenv("WATCHDOG_PID") != nullptr;
  const std::uint64_t pid = take_number("WATCHDOG_PID");
  const std::uint64_t interval = take_number("WATCHDOG_USEC");
  if (addressed && pid != static_cast<std::uint64_t>(::getpid())) return {};
  constexpr std::uint64_t kDay = 86'400'000'000U;
  return std::chrono::microseconds(std::min(interval, kDay));
}

}  // namespace serverd
