#include "client/pcap2stream/outgoing.h"

#include "common/os/error.h"

#include <algorithm>
#include <cerrno>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace serverd::pcap2stream {
namespace {

/// Appended bytes are handed over in pieces of about this size.
constexpr std::size_t kWriteSize = std::size_t{256} << 10;
/// A queue keeps this much memory when it runs empty.
constexpr std::size_t kKeptCapacity = std::size_t{4} << 20;
constexpr auto kCloseCheck = std::chrono::milliseconds(20);

/// Bytes and FIN that the peer has not acknowledged, tcp(7).
int unacknowledged(int fd) noexcept {
  int count = 0;
  return ::ioctl(fd, SIOCOUTQ, &count) == 0 ? count : 0;
}

}  // namespace

Outgoing::Outgoing(Loop& loop, const SocketAddress& server, const Timeouts& timeouts,
                   std::function<void()> changed)
    : loop_(loop),
      timeouts_(timeouts),
      changed_(std::move(changed)),
      fd_(connect_to(server)),
      timer_(loop, [this] { on_timer(); }) {
  watch_.emplace(loop, fd_.get(), POLLOUT, [this](short events) { on_event(events); });
  timer_.arm_in(timeouts.connect);
}

void Outgoing::append(Bytes bytes) {
  if (over()) return;
  if (sent_ > 0 && queue_.size() + bytes.size() > queue_.capacity()) {
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(sent_));
    sent_ = 0;
  }
  queue_.insert(queue_.end(), bytes.begin(), bytes.end());
  if (queued() >= kWriteSize) flush();
}

void Outgoing::flush() {
  if (state_ == State::kOpen && queued() > 0) write_queue();
}

void Outgoing::finish() {
  finish_wanted_ = true;
  if (state_ != State::kOpen) return;
  flush();
  if (state_ == State::kOpen && queued() == 0) shut_down();
}

void Outgoing::on_event(short events) {
  if (state_ == State::kConnecting)
    connected();
  else if ((events & (POLLIN | POLLERR | POLLHUP)) != 0)
    discard_input();
  if (state_ == State::kOpen && (events & POLLOUT) != 0) {
    write_queue();
    if (finish_wanted_ && state_ == State::kOpen && queued() == 0) shut_down();
  }
  if (state_ == State::kClosing) check_closed();
  changed_();
}

void Outgoing::on_timer() {
  if (state_ == State::kConnecting)
    fail(error_text(ETIMEDOUT));
  else if (state_ == State::kClosing)
    check_closed();
  changed_();
}

void Outgoing::connected() {
  if (const auto error = socket_error()) {
    fail(error_text(*error));
    return;
  }
  timer_.disarm();
  const int one = 1;
  // With --speed the chunks are small and due now. A failure costs only a delay.
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  state_ = State::kOpen;
  watch_->want(POLLIN | POLLOUT);
}

void Outgoing::write_queue() {
  while (queued() > 0) {
    const ssize_t written =
        ::send(fd_.get(), queue_.data() + sent_, queued(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      if (error != EAGAIN) fail(error_text(error));
      break;
    }
    sent_ += static_cast<std::size_t>(written);
  }
  if (over()) return;
  if (queued() == 0) {
    queue_.clear();
    sent_ = 0;
    if (queue_.capacity() > kKeptCapacity) queue_.shrink_to_fit();
  }
  const short input = peer_closed_ ? 0 : POLLIN;
  watch_->want(queued() > 0 ? static_cast<short>(input | POLLOUT) : input);
}

void Outgoing::discard_input() {
  constexpr std::size_t kAtMost = std::size_t{1} << 20;
  // tcp(7): MSG_TRUNC discards without copying.
  const ssize_t got = ::recv(fd_.get(), nullptr, kAtMost, MSG_TRUNC | MSG_DONTWAIT);
  if (got > 0) return;
  if (got < 0) {
    const int error = errno;
    if (error != EAGAIN && error != EINTR) fail(error_text(error));
    return;
  }
  // The peer may have closed one direction only: a reset will tell if it was both.
  peer_closed_ = true;
  watch_->want(queued() > 0 ? POLLOUT : 0);
}

void Outgoing::shut_down() {
  if (::shutdown(fd_.get(), SHUT_WR) != 0) {
    const int error = errno;
    fail(error_text(error));
    return;
  }
  state_ = State::kClosing;
  close_deadline_ = loop_.now() + timeouts_.close;
  watch_->want(peer_closed_ ? 0 : POLLIN);
  timer_.arm_in(kCloseCheck);
}

/// The error is looked at first: after a reset nothing counts as unacknowledged any more.
void Outgoing::check_closed() {
  if (const auto error = socket_error()) {
    fail(error_text(*error));
    return;
  }
  const bool acknowledged = unacknowledged(fd_.get()) == 0;
  if (!acknowledged) close_deadline_ = loop_.now() + timeouts_.close;
  if (acknowledged && (peer_closed_ || loop_.now() >= close_deadline_))
    end(State::kDone);
  else
    timer_.arm_in(kCloseCheck);
}

void Outgoing::fail(const std::string& error) {
  error_ = error;
  end(State::kFailed);
}

void Outgoing::end(State state) {
  state_ = state;
  queue_ = {};
  sent_ = 0;
  timer_.disarm();
  // The watch may be the one that is calling us: it stays, silent, until we go.
  watch_->want(0);
  fd_.reset();
}

std::optional<int> Outgoing::socket_error() const noexcept {
  const auto error = socket_option(fd_.get(), SOL_SOCKET, SO_ERROR);
  if (!error) return EBADF;
  return *error == 0 ? std::nullopt : error;
}

}  // namespace serverd::pcap2stream
