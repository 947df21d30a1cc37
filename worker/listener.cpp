#include "worker/listener.h"

#include "common/log.h"
#include "common/os/error.h"

#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>

namespace serverd {
namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr int kAcceptsAtStop = 65'536;
constexpr auto kRetryDelay = std::chrono::milliseconds(200);

}  // namespace

void prepare_socket(int fd) noexcept {
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

Listener::Listener(Loop& loop, UniqueFd fd, Accepted accepted)
    : loop_(loop),
      fd_(std::move(fd)),
      address_(SocketAddress::local_of(fd_.get())),
      accepted_(std::move(accepted)),
      retry_(loop,
             [this] {
               if (!paused_) resume();
             }),
      watch_(loop, fd_.get(), POLLIN, [this](short) { accept_some(); }) {
  prepare_socket(fd_.get());
  // Inherited by connections: no answer waits for the peer's acknowledgement of the one before.
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void Listener::pause() noexcept {
  paused_ = true;
  watch_.want(0);
}

void Listener::resume() noexcept {
  paused_ = false;
  watch_.want(POLLIN);
}

void Listener::accept_some() {
  for (int i = 0; i < kAcceptsPerTurn && !paused_; ++i)
    if (!accept_one()) return;
}

void Listener::accept_backlog() {
  for (int i = 0; i < kAcceptsAtStop; ++i)
    if (!accept_one()) return;
}

bool Listener::accept_one() {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  UniqueFd fd = UniqueFd::adopt(::accept4(fd_.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                                          SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) {
    const int error = errno;
    // accept(2): errors of the new connection itself come out here; the next one may be good.
    if (error == EINTR || error == ECONNABORTED || error == EPROTO) return true;
    if (error != EAGAIN) out_of_descriptors(error);
    return false;
  }
  if (failing_) log::info("Accepting on {} again", address_.to_string());
  failing_ = false;
  accepted_(std::move(fd), SocketAddress::from_storage(peer, size));
  return true;
}

void Listener::out_of_descriptors(int error) {
  if (!failing_)
    log::error("Cannot accept on {}: {}; newcomers wait in the backlog", address_.to_string(),
               error_text(error));
  failing_ = true;
  watch_.want(0);
  retry_.arm_in(kRetryDelay);
}

}  // namespace serverd
