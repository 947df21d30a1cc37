#pragma once

#include "common/loop/loop.h"
#include "supervisor/service_manager.h"
#include "supervisor/spawn.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace serverd {

/// What the service manager keeps for the daemon's next start: one parcel in its store of
/// descriptors (sd_pid_notify_with_fds(3)), with what an upgrade would hand over, as pack_state
/// packs it. A new one is put in before the old one is taken out, under names that count up, so
/// that there is a whole one at any moment.
class Store final {
 public:
  /// Gives what is to be kept, borrowed, as pack_state takes it.
  using State = std::function<std::vector<HandedFd>()>;

  /// Asks systemd once how much it keeps, and says in the log if that is nothing. `last`: the
  /// number of the one that is in the store now; 0: none.
  Store(Loop& loop, ServiceManager& manager, State state, std::uint64_t last);

  /// False if nothing is kept for us.
  bool usable() const noexcept { return most_ > 0; }
  std::uint64_t last() const noexcept { return last_; }

  /// What is in the store follows every change from now on, for when we are killed. Without that it
  /// is put there only by `hand_over`.
  void follow();
  bool following() const noexcept { return following_; }
  /// What is to be kept has changed.
  void changed();
  /// Something else that is in the store and of no use.
  void remove(const std::string& name) { manager_.forget(name); }
  /// Takes out what is in there, and follows no longer.
  void clear();
  /// Puts it in for the last time, and waits a short time until the service manager has it. A
  /// systemd is asked whether it keeps it: it does not say so by itself. False, with a log line, if
  /// it is not kept.
  bool hand_over();

 private:
  void put();
  void forget_last();

  ServiceManager& manager_;
  State state_;
  std::uint64_t last_;
  unsigned most_;
  bool following_ = false;
  bool failing_ = false;
  Timer timer_;
};

/// "kept.17"
std::string kept_name(std::uint64_t number);
/// The number in it; 0 if that is no such name.
std::uint64_t kept_number(const std::string& name);

}  // namespace serverd
