#pragma once

#include "common/loop/loop.h"
#include "common/os/unique_fd.h"
#include "supervisor/line_reader.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace serverd {

/// Who is at the other end, see SO_PEERCRED in unix(7).
struct ControlPeer {
  pid_t pid = 0;
  uid_t uid = 0;
};

struct ControlReply {
  std::string line;  ///< without line end
  std::vector<UniqueFd> descriptors{};
};

/// The control socket: takes lines from whoever may connect (the file mode decides) and sends each
/// one's reply. One line is answered in a turn of the loop, clients take turns, and the next line
/// of a client is read when its reply is sent: nobody can hold up the supervisor or fill its
/// memory.
class Control final {
 public:
  using Answer = std::function<ControlReply(std::string_view line, const ControlPeer& peer)>;

  struct Limits {
    std::size_t clients = 32;                         ///< one more is told so and closed
    std::size_t request = 4096;                       ///< bytes of a line
    Clock::duration idle = std::chrono::minutes(1);   ///< without a request
    Clock::duration reply = std::chrono::seconds(5);  ///< until a reply is taken
  };

  /// Replaces what is at `path`. `owner`'s primary group may use it. Throws std::system_error.
  Control(Loop& loop, const std::string& path, Answer answer, const Limits& limits);
  /// Goes on with a listening socket.
  Control(Loop& loop, UniqueFd listener, Answer answer, const Limits& limits);
  ~Control();

  int listener() const noexcept { return listener_.get(); }
  std::size_t clients() const noexcept { return clients_.size(); }

 private:
  class Client;

  void on_connect();
  void refuse(UniqueFd fd) const noexcept;
  /// Some client has a line to be answered, or is done.
  void wake();
  void turn();

  Loop& loop_;
  UniqueFd listener_;
  Answer answer_;
  Limits limits_;
  std::vector<std::unique_ptr<Client>> clients_;
  bool turn_due_ = false;
  Timer resume_;
  Watch watch_;
};

}  // namespace serverd
