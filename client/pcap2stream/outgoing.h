#pragma once

#include "client/pcap2stream/bytes.h"
#include "common/loop/loop.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace serverd::pcap2stream {

struct Timeouts {
  Clock::duration connect = std::chrono::seconds(10);
  /// For the peer to close once it has acknowledged everything. Before that there is no deadline
  /// of ours: a peer that reads slowly is waited for, one that is gone is the kernel's to notice.
  Clock::duration close = std::chrono::seconds(10);
};

/// One TCP connection that only sends. What the peer sends is discarded.
class Outgoing final {
 public:
  enum class State {
    kConnecting,
    kOpen,
    kClosing,  ///< FIN sent or due; waiting for the peer
    kDone,     ///< every byte was acknowledged by the peer's kernel
    kFailed,   ///< see error()
  };

  /// Throws std::system_error if connecting fails at once. `changed` is called from the loop after
  /// anything happened; it must not destroy this object.
  Outgoing(Loop& loop, const SocketAddress& server, const Timeouts& timeouts,
           std::function<void()> changed);

  State state() const noexcept { return state_; }
  bool over() const noexcept { return state_ == State::kDone || state_ == State::kFailed; }
  /// Why it failed.
  const std::string& error() const noexcept { return error_; }
  /// Bytes accepted but not yet handed to the kernel.
  std::size_t queued() const noexcept { return queue_.size() - sent_; }

  /// Copies `bytes` to the queue, which grows as needed: the caller looks at queued(). Dropped
  /// once the connection has failed.
  void append(Bytes bytes);
  /// Hands to the kernel what it takes now.
  void flush();
  /// Nothing more will be appended: FIN after the queue.
  void finish();

 private:
  void on_event(short events);
  void on_timer();
  void connected();
  void write_queue();
  void discard_input();
  void shut_down();
  void check_closed();
  void fail(const std::string& error);
  void end(State state);
  std::optional<int> socket_error() const noexcept;

  Loop& loop_;
  Timeouts timeouts_;
  std::function<void()> changed_;
  UniqueFd fd_;
  State state_ = State::kConnecting;
  std::string error_;
  std::vector<std::uint8_t> queue_;  ///< the first `sent_` bytes are gone already
  std::size_t sent_ = 0;
  bool finish_wanted_ = false;
  bool peer_closed_ = false;
  std::optional<Watch> watch_;
  Timer timer_;
  Clock::time_point close_deadline_{};
};

}  // namespace serverd::pcap2stream
