#include "worker/connect_attempt.h"

#include "worker/listener.h"

#include <cerrno>

namespace serverd {

ConnectAttempt::ConnectAttempt(Loop& loop, const SocketAddress& address, Clock::duration timeout,
                               Done done)
    : fd_(connect_to(address)),
      done_(std::move(done)),
      deadline_(loop, [this] { finish(std::make_error_code(std::errc::timed_out)); }),
      watch_(loop, fd_.get(), POLLOUT, [this](short) { on_ready(); }) {
  prepare_socket(fd_.get());
  deadline_.arm_in(timeout);
}

/// connect(2): writable means decided, and SO_ERROR says how.
void ConnectAttempt::on_ready() {
  const int error = socket_option(fd_.get(), SOL_SOCKET, SO_ERROR).value_or(EBADF);
  finish({error, std::generic_category()});
}

void ConnectAttempt::finish(std::error_code error) {
  deadline_.disarm();
  watch_.want(0);  // the descriptor goes to another watch
  if (error) fd_.reset();
  done_(std::move(fd_), error);
}

}  // namespace serverd
