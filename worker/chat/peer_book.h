#pragma once

#include "common/loop/loop.h"
#include "common/os/socket.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace serverd::chat {

/// Which servers to connect to, and when: those that are configured always, those that were learned
/// while there are fewer links than `min_peers`. A place that fails is tried again after 1 s,
/// doubled up to a minute. Makes no connection itself.
class PeerBook final {
 public:
  PeerBook(const std::vector<SocketAddress>& configured, unsigned max_peers, unsigned min_peers);

  /// A server of this id was said to be there. No more than 64 are remembered.
  void learn(std::string_view id, const SocketAddress& address);

  struct Due {
    std::uint64_t token;  ///< for the reports below
    SocketAddress address;
  };
  /// Places to connect to now, which they count as from here on. `links`: how many there are.
  /// `is_linked` says whether there is one to a server id, or it is our own.
  std::vector<Due> take_due(Clock::time_point now, unsigned links,
                            const std::function<bool(std::string_view)>& is_linked);

  /// Found by its address after a worker's death.
  std::optional<std::uint64_t> resumed(const SocketAddress& address);
  /// Who answers there.
  void identified(std::uint64_t token, std::string_view id);
  /// The connection could not be made, or has ended.
  void ended(std::uint64_t token, Clock::time_point now);

 private:
  struct Place {
    SocketAddress address;
    std::string id;  ///< empty: unknown
    bool learned = false;
    bool in_use = false;
    bool answered = false;  ///< since it was last tried
    unsigned failures = 0;
    Clock::time_point not_before{};
  };

  std::vector<Place> places_;
  unsigned max_peers_;
  unsigned min_peers_;
};

}  // namespace serverd::chat
