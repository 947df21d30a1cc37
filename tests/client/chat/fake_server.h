#pragma once

#include "common/os/socket.h"
#include "common/os/unique_fd.h"
#include "common/wire/tsam_frame.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <poll.h>
#include <sys/socket.h>

namespace serverd::test {

inline bool becomes_ready(int fd, short events, int patience_ms) {
  pollfd item{fd, events, 0};
  return ::poll(&item, 1, patience_ms) == 1;
}

/// One client's connection, as the server that a test plays sees it.
class FakeConnection final {
 public:
  explicit FakeConnection(UniqueFd fd) : fd_(std::move(fd)) {}

  /// The next command; empty when the client has closed, or at the deadline.
  std::optional<std::string> heard(int patience_ms = 10'000) {
    for (;;) {
      const tsam::Step step = tsam::next_command(held_, position_, false, scratch_);
      if (step.event != tsam::Event::kNeedMore) {
        std::string text(step.text);
        position_ = step.next;
        held_.erase(0, step.consumed);
        if (step.event == tsam::Event::kCommand) return text;
        continue;
      }
      char buffer[4'096];
      if (!becomes_ready(fd_.get(), POLLIN, patience_ms)) return std::nullopt;
      const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (got <= 0) return std::nullopt;
      held_.append(buffer, static_cast<std::size_t>(got));
    }
  }

  void say(std::string_view command) {
    std::string wire;
    tsam::encode(wire, command, tsam::Framing::kFrames);
    send(wire);
  }
  /// What fits into the socket's buffers; tests send no more.
  void send(std::string_view bytes) const {
    if (::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("the client does not take it");
  }
  void close() { fd_.reset(); }
  /// Closes with a RST instead of a FIN.
  void reset() {
    const linger hard{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    fd_.reset();
  }

 private:
  UniqueFd fd_;
  std::string held_;
  std::string scratch_;
  tsam::Position position_;
};

class FakeServer final {
 public:
  FakeServer() : listener_(listen_on(SocketAddress::from_host("127.0.0.1", 0).value(), 4)) {}

  std::string port() const {
    return std::to_string(SocketAddress::local_of(listener_.get()).port());
  }
  FakeConnection accept() {
    if (!becomes_ready(listener_.get(), POLLIN, 20'000)) throw std::runtime_error("no client came");
    return FakeConnection(UniqueFd::adopt(
        ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
  }

 private:
  UniqueFd listener_;
};

}  // namespace serverd::test
