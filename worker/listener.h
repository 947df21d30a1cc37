#pragma once

#include "common/loop/loop.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"

#include <functional>

namespace serverd {

/// Sets what every connection needs: urgent data taken inline, which the kernel otherwise counts
/// but leaves out of the stream, and TCP keep-alive.
void prepare_socket(int fd) noexcept;

/// Accepts connections from one listening socket, a bounded number a turn. When descriptors run out
/// it pauses, says so once, and tries again; the newcomers wait in the backlog.
class Listener final {
 public:
  using Accepted = std::function<void(UniqueFd, const SocketAddress& peer)>;

  Listener(Loop& loop, UniqueFd fd, Accepted accepted);

  /// Stops or resumes accepting.
  void pause() noexcept;
  void resume() noexcept;
  /// Takes what stands in the backlog now.
  void accept_backlog();

  const SocketAddress& address() const noexcept { return address_; }

 private:
  /// False when there is nothing more to accept for now.
  bool accept_one();
  void accept_some();
  void out_of_descriptors(int error);

  Loop& loop_;
  UniqueFd fd_;
  SocketAddress address_;
  Accepted accepted_;
  bool paused_ = false;
  bool failing_ = false;
  Timer retry_;
  Watch watch_;
};

}  // namespace serverd
