#pragma once

#include "common/loop/loop.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"
#include "common/wire/tsam_frame.h"

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace serverd::chat {

/// The connection to the server: frames out, frames in.
class ServerLink final {
 public:
  enum class State {
    kConnecting,
    kOpen,
    kClosed,  ///< by the server
    kFailed,  ///< see error()
  };
  /// kCommand, kTooLong or kGarbage, with its text.
  using Received = std::function<void(tsam::Event, std::string_view)>;

  /// Throws std::system_error if connecting fails at once. `received` is called from the loop and
  /// must not destroy this object. `patience` is for connecting.
  ServerLink(Loop& loop, const SocketAddress& server, Clock::duration patience, Received received);

  State state() const noexcept { return state_; }
  bool over() const noexcept { return state_ == State::kClosed || state_ == State::kFailed; }
  const std::string& error() const noexcept { return error_; }
  /// Whether it was ever open.
  bool was_open() const noexcept { return was_open_; }

  /// Queues a command, unless the link is over. The caller heeds queued().
  void send(std::string_view command);
  /// Bytes that the kernel has not taken yet.
  std::size_t queued() const noexcept { return queue_.size(); }
  /// When a byte last went in either direction.
  Clock::time_point last_activity() const noexcept { return last_activity_; }

 private:
  void on_event(short events);
  void connected();
  void write_queue();
  bool read_some();
  void take_steps(bool last);
  void end(State state, std::string error);

  Loop& loop_;
  Received received_;
  UniqueFd fd_;
  State state_ = State::kConnecting;
  bool was_open_ = false;
  std::string error_;
  std::string queue_;
  std::string held_;  ///< an unfinished frame
  std::string scratch_;
  /// Frames from the first byte on: we speak frames, and replies are as their requests.
  tsam::Position position_{tsam::Framing::kFrames, false};
  Clock::time_point last_activity_;
  Timer connect_deadline_;
  Watch watch_;
};

}  // namespace serverd::chat
