#include "supervisor/control.h"

#include "common/log.h"
#include "common/os/error.h"
#include "common/os/unix_socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <unistd.h>

namespace serverd {
namespace {

constexpr int kBacklog = 32;
constexpr mode_t kMode = 0660;
constexpr auto kAcceptRetryDelay = std::chrono::milliseconds(500);
/// Of one reply; the kernel takes at most SCM_MAX_FD, see unix(7).
constexpr std::size_t kMaxDescriptors = 64;

UniqueFd listen_anew(const std::string& path) {
  ::unlink(path.c_str());
  return listen_at(path, kMode, kBacklog);
}

std::string error_line(std::string_view what) {
  return fmt::format("{{\"error\":\"{}\"}}\n", what);
}

ControlPeer peer_of(int fd) noexcept {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
  return {credentials.pid, credentials.uid};
}

/// sendmsg(2) with descriptors; -1 and errno.
ssize_t send_with(int fd, std::string_view bytes, const std::vector<UniqueFd>& descriptors) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  const std::size_t count = std::min(descriptors.size(), kMaxDescriptors);
  if (count > 0) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (std::size_t i = 0; i < count; ++i) {
      const int number = descriptors[i].get();
      std::memcpy(CMSG_DATA(item) + i * sizeof number, &number, sizeof number);
    }
  }
  return ::sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

/// One connection. Reads until it has a line, then waits to be answered, then sends the reply.
class Control::Client final {
 public:
  Client(Control& control, UniqueFd fd)
      : control_(control),
        fd_(std::move(fd)),
        peer_(peer_of(fd_.get())),
        lines_(control.limits_.request),
        deadline_(control.loop_, [this] { finish(); }),
        watch_(control.loop_, fd_.get(), POLLIN, [this](short) { on_ready(); }) {
    deadline_.arm_in(control_.limits_.idle);
  }

  bool finished() const noexcept { return finished_; }
  bool waits_for_answer() const noexcept {
    return !finished_ && output_.empty() && lines_.has_line();
  }

  void answer() { reply(control_.answer_(*lines_.next(), peer_)); }

 private:
  void on_ready() {
    if (output_.empty())
      read();
    else
      write();
  }

  void read() {
    char bytes[4096];
    const ssize_t n = ::recv(fd_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EINTR ? void() : finish();
    if (n == 0) {
      ended_ = true;
      lines_.end();
    } else if (!discarding_) {
      lines_.append({bytes, static_cast<std::size_t>(n)});
    }
    next_step();
  }

  void next_step() {
    if (lines_.has_line()) {
      watch_.want(0);
      return control_.wake();
    }
    if (lines_.overflown() && !std::exchange(discarding_, true))
      return send(
          error_line(fmt::format("a request has at most {} bytes", control_.limits_.request)));
    if (ended_) return finish();
    // Whoever is still sending would not read why, if we closed now.
    if (!discarding_) deadline_.arm_in(control_.limits_.idle);
    watch_.want(POLLIN);
  }

  void reply(ControlReply reply) {
    descriptors_ = std::move(reply.descriptors);
    reply.line += '\n';
    send(std::move(reply.line));
  }

  void send(std::string bytes) {
    output_ = std::move(bytes);
    sent_ = 0;
    deadline_.arm_in(control_.limits_.reply);
    watch_.want(POLLOUT);
    write();
  }

  void write() {
    const std::string_view rest = std::string_view(output_).substr(sent_);
    const ssize_t n = send_with(fd_.get(), rest, descriptors_);
    if (n < 0) return errno == EAGAIN || errno == EINTR ? void() : finish();
    descriptors_.clear();
    sent_ += static_cast<std::size_t>(n);
    if (sent_ < output_.size()) return;
    output_.clear();
    next_step();
  }

  void finish() {
    finished_ = true;
    deadline_.disarm();
    watch_.want(0);
    control_.wake();
  }

  Control& control_;
  UniqueFd fd_;
  ControlPeer peer_;
  LineReader lines_;
  std::string output_;  ///< one reply
  std::size_t sent_ = 0;
  std::vector<UniqueFd> descriptors_;
  bool discarding_ = false;  ///< behind a request that was too long
  bool ended_ = false;       ///< the peer sends nothing more
  bool finished_ = false;
  Timer deadline_;
  Watch watch_;
};

Control::Control(Loop& loop, const std::string& path, Answer answer, const Limits& limits)
    : Control(loop, listen_anew(path), std::move(answer), limits) {}

Control::Control(Loop& loop, UniqueFd listener, Answer answer, const Limits& limits)
    : loop_(loop),
      listener_(std::move(listener)),
      answer_(std::move(answer)),
      limits_(limits),
      resume_(loop, [this] { watch_.want(POLLIN); }),
      watch_(loop, listener_.get(), POLLIN, [this](short) { on_connect(); }) {}

Control::~Control() = default;

void Control::on_connect() {
  const int accepted = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (accepted < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
    // Out of descriptors or memory: the client stays in the backlog, and must not keep us busy.
    watch_.want(0);
    return resume_.arm_in(kAcceptRetryDelay);
  }
  UniqueFd fd = UniqueFd::adopt(accepted);
  if (clients_.size() >= limits_.clients) return refuse(std::move(fd));
  clients_.push_back(std::make_unique<Client>(*this, std::move(fd)));
}

void Control::refuse(UniqueFd fd) const noexcept {
  constexpr std::string_view kFull = "{\"error\":\"too many clients on the control socket\"}\n";
  ::send(fd.get(), kFull.data(), kFull.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Control::wake() {
  if (std::exchange(turn_due_, true)) return;
  loop_.defer([this] { turn(); });
}

void Control::turn() {
  turn_due_ = false;
  std::erase_if(clients_, [](const auto& client) { return client->finished(); });
  const auto waits = [](const auto& client) { return client->waits_for_answer(); };
  const auto next = std::find_if(clients_.begin(), clients_.end(), waits);
  if (next == clients_.end()) return;
  Client& client = **next;
  std::rotate(next, next + 1, clients_.end());  // the others come first from now on
  client.answer();
  if (std::any_of(clients_.begin(), clients_.end(), waits)) wake();
}

}  // namespace serverd
