#pragma once

#include "common/loop/loop.h"
#include "common/os/unique_fd.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace serverd {

/// The notify socket of one generation of a worker: what NOTIFY_SOCKET names, see sd_notify(3).
/// Only datagrams sent by the process that `expect` named are heard; everything else is dropped.
class WorkerChannel final {
 public:
  /// `descriptors`: what came with it.
  using Message = std::function<void(std::string_view lines, std::vector<UniqueFd> descriptors)>;

  /// Binds a datagram socket to `path`, or to `path` with a number if that exists, for `owner` if
  /// given; removed at destruction. Throws std::system_error.
  WorkerChannel(Loop& loop, const std::string& path, std::optional<uid_t> owner, Message message);
  /// Goes on with a socket that a supervisor before us bound. Throws std::system_error.
  WorkerChannel(Loop& loop, UniqueFd fd, Message message);
  ~WorkerChannel();

  int fd() const noexcept { return fd_.get(); }
  const std::string& path() const noexcept { return path_; }
  /// "NOTIFY_SOCKET=…"
  std::string variable() const { return "NOTIFY_SOCKET=" + path_; }
  void expect(pid_t sender) noexcept { sender_ = sender; }
  /// Takes in what has been sent, without waiting. For use before the sender's death is judged: a
  /// worker that reported READY=1 and died at once was ready.
  void receive();

 private:
  bool receive_one();

  std::string path_;
  UniqueFd fd_;
  Message message_;
  pid_t sender_ = 0;
  Watch watch_;
};

/// True if a line of `lines` is exactly `line`.
bool has_line(std::string_view lines, std::string_view line) noexcept;

}  // namespace serverd
