#include "supervisor/worker_channel.h"

#include "common/log.h"
#include "common/os/descriptor_message.h"
#include "common/os/error.h"
#include "common/os/unix_socket.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/socket.h>
#include <sys/stat.h>

namespace serverd {
namespace {

constexpr int kMessagesPerTurn = 64;

constexpr int kPathAttempts = 100;

/// Binds `fd` to `path`, or to "path-2" and so on while there is something of that name: a port
/// that was removed and added again may have two workers of one generation.
std::string bind_to_free_path(int fd, const std::string& path) {
  for (int attempt = 1;; ++attempt) {
    std::string candidate = attempt == 1 ? path : path + "-" + std::to_string(attempt);
    const sockaddr_un address = unix_address(candidate);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      return candidate;
    if (errno != EADDRINUSE || attempt == kPathAttempts)
      throw_system_error(errno, "bind " + candidate);
  }
}

UniqueFd bind_datagram(const std::string& path, std::optional<uid_t> owner) {
  UniqueFd fd = UniqueFd::adopt(check_call(
      ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket for " + path));
  const int on = 1;
  check_call(::setsockopt(fd.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on),
             "SO_PASSCRED on " + path);
  const std::string bound = bind_to_free_path(fd.get(), path);
  check_call(::chmod(bound.c_str(), 0600), "chmod " + bound);
  if (owner) check_call(::chown(bound.c_str(), *owner, static_cast<gid_t>(-1)), "chown " + bound);
  return fd;
}

std::string bound_path(int fd) {
  sockaddr_un address{};
  socklen_t size = sizeof address - 1;  // so that the path is terminated
  check_call(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  return address.sun_path;
}

std::optional<pid_t> sender_of(msghdr& header) {
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_CREDENTIALS) continue;
    ucred credentials{};
    std::memcpy(&credentials, CMSG_DATA(item), sizeof credentials);
    return credentials.pid;
  }
  return std::nullopt;
}

}  // namespace

WorkerChannel::WorkerChannel(Loop& loop, const std::string& path, std::optional<uid_t> owner,
                             Message message)
    : WorkerChannel(loop, bind_datagram(path, owner), std::move(message)) {}

WorkerChannel::WorkerChannel(Loop& loop, UniqueFd fd, Message message)
    : path_(bound_path(fd.get())),
      fd_(std::move(fd)),
      message_(std::move(message)),
      watch_(loop, fd_.get(), POLLIN, [this](short) { receive(); }) {}

WorkerChannel::~WorkerChannel() { ::unlink(path_.c_str()); }

void WorkerChannel::receive() {
  for (int i = 0; i < kMessagesPerTurn; ++i)
    if (!receive_one()) return;
}

bool WorkerChannel::receive_one() {
  char text[4096];
  // Room for credentials and for a full load of descriptors, so that none is lost unseen.
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(253 * sizeof(int))];
  iovec part{text, sizeof text};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return errno == EINTR;
  std::vector<UniqueFd> descriptors = received_descriptors(header);
  const auto sender = sender_of(header);
  if (!sender || *sender != sender_ || sender_ == 0) {
    log::warning("{}: message from process {} ignored, expected {}", path_, sender.value_or(0),
                 sender_);
    return true;
  }
  if ((header.msg_flags & MSG_TRUNC) != 0) {
    log::warning("{}: message of more than {} bytes from process {} ignored", path_, sizeof text,
                 *sender);
    return true;
  }
  message_({text, static_cast<std::size_t>(n)}, std::move(descriptors));
  return true;
}

bool has_line(std::string_view lines, std::string_view line) noexcept {
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    if (lines.substr(0, end) == line) return true;
    if (end == std::string_view::npos) return false;
    lines.remove_prefix(end + 1);
  }
  return false;
}

}  // namespace serverd
