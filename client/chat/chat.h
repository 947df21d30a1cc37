#pragma once

#include "client/chat/awaited.h"
#include "client/chat/console.h"
#include "client/chat/server_link.h"
#include "common/exit_code.h"
#include "common/loop/loop.h"
#include "common/os/socket.h"

#include <chrono>
#include <string>
#include <string_view>

namespace serverd::chat {

struct ChatOptions {
  SocketAddress server;
  Clock::duration connect = std::chrono::seconds(10);
  /// Between two KEEPALIVEs; 0: none. The server closes idle connections after 300 s.
  Clock::duration keepalive = std::chrono::seconds(120);
  /// For the server to say something more, once there is no more input.
  Clock::duration patience = std::chrono::seconds(2);
  /// For a server that takes nothing of what is left to send, and for all waiting for answers.
  Clock::duration longest_wait = std::chrono::seconds(30);
};

/// A conversation with one server: typed lines go to it as commands, whatever it sends is shown.
class Chat final {
 public:
  /// Connects; throws std::system_error if that fails at once.
  Chat(Loop& loop, Console& console, const ChatOptions& options);

  /// Until the user or the server ends it.
  ExitCode run();
  /// From the loop: the user wants to leave. A second time: at once.
  void quit();

 private:
  void converse();
  void typed(const std::string& line);
  void slash(std::string_view word);
  void send(const std::string& command, bool own);
  void received(tsam::Event event, std::string_view text);
  void keep_alive();
  void wait_for_answers();
  void leave();
  template <typename Condition>
  void turn_until(Condition done, Clock::duration patience);
  ExitCode outcome() const;
  std::string reason() const;
  void show(char mark, std::string_view text);

  bool over() const noexcept { return quitting_ || link_.over(); }

  Loop& loop_;
  Console& console_;
  ChatOptions options_;
  ServerLink link_;
  Awaited awaited_;
  Timer keepalive_;
  bool quitting_ = false;  ///< nothing more is read
  bool at_once_ = false;
  bool leaving_ = false;  ///< LEAVE was sent: the server may close
};

}  // namespace serverd::chat
