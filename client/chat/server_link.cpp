#include "client/chat/server_link.h"

#include "common/os/error.h"

#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace serverd::chat {

ServerLink::ServerLink(Loop& loop, const SocketAddress& server, Clock::duration patience,
                       Received received)
    : loop_(loop),
      received_(std::move(received)),
      fd_(connect_to(server)),
      last_activity_(loop.now()),
      connect_deadline_(loop, [this] { end(State::kFailed, error_text(ETIMEDOUT)); }),
      watch_(loop, fd_.get(), POLLOUT, [this](short events) { on_event(events); }) {
  connect_deadline_.arm_in(patience);
}

void ServerLink::send(std::string_view command) {
  if (over()) return;
  tsam::encode(queue_, command, tsam::Framing::kFrames);
  if (state_ == State::kOpen) watch_.want(POLLIN | POLLOUT);
}

void ServerLink::on_event(short events) {
  if (state_ == State::kConnecting) return connected();
  if ((events & (POLLIN | POLLERR | POLLHUP)) != 0) read_some();
  if (state_ == State::kOpen && (events & POLLOUT) != 0) write_queue();
}

void ServerLink::connected() {
  const int error = socket_option(fd_.get(), SOL_SOCKET, SO_ERROR).value_or(EBADF);
  if (error != 0) return end(State::kFailed, error_text(error));
  connect_deadline_.disarm();
  const int one = 1;
  // Somebody waits for the answer to each line. A failure costs only a delay.
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  state_ = State::kOpen;
  was_open_ = true;
  last_activity_ = loop_.now();
  watch_.want(queue_.empty() ? POLLIN : POLLIN | POLLOUT);
}

void ServerLink::write_queue() {
  const ssize_t sent = ::send(fd_.get(), queue_.data(), queue_.size(), MSG_NOSIGNAL);
  if (sent < 0) {
    const int error = errno;
    if (error == EAGAIN || error == EINTR) return;
    // What the server said before it went is worth reading.
    error_ = error_text(error);
    while (read_some()) {
    }
    return end(State::kFailed, error_);
  }
  queue_.erase(0, static_cast<std::size_t>(sent));
  last_activity_ = loop_.now();
  if (queue_.empty()) watch_.want(POLLIN);
}

/// False when there is nothing more to read now, or ever.
bool ServerLink::read_some() {
  char buffer[16'384];
  const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
  const int error = errno;
  if (got < 0 && (error == EAGAIN || error == EINTR)) return false;
  if (got > 0) {
    last_activity_ = loop_.now();
    held_.append(buffer, static_cast<std::size_t>(got));
    take_steps(false);
    return true;
  }
  take_steps(true);
  if (got < 0) error_ = error_text(error);
  end(error_.empty() ? State::kClosed : State::kFailed, error_);
  return false;
}

void ServerLink::take_steps(bool last) {
  std::string_view rest = held_;
  for (;;) {
    const tsam::Step step = tsam::next_command(rest, position_, last, scratch_);
    if (step.event == tsam::Event::kNeedMore) break;
    position_ = step.next;
    rest.remove_prefix(step.consumed);
    if (step.event != tsam::Event::kSkipped) received_(step.event, step.text);
  }
  held_.erase(0, held_.size() - rest.size());
}

void ServerLink::end(State state, std::string error) {
  if (over()) return;
  state_ = state;
  error_ = std::move(error);
  connect_deadline_.disarm();
  // The watch may be the one that is calling us: it stays, silent, until we go.
  watch_.want(0);
  fd_.reset();
}

}  // namespace serverd::chat
