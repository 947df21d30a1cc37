#pragma once

#include "common/loop/loop.h"
#include "common/notify.h"

#include <functional>
#include <vector>

namespace serverd {

/// Duplicates of all our connections for the supervisor, so that they outlive even it: while
/// connections come and go, a parcel with those of the moment, at most once a second, which takes
/// the place of the one before. Given as a service gives descriptors to systemd's store, by
/// FDSTORE=1, see sd_pid_notify_with_fds(3).
///
/// A connection is then open in two places, and close(2) here does not end it: shutdown(2) does.
class Snapshots final {
 public:
  using Connections = std::function<std::vector<int>()>;

  /// Asked for by FDSTORE in the environment, if that comes from a supervisor of ours. `notifier`
  /// must outlive this object; `connections` gives them borrowed.
  Snapshots(Loop& loop, const Notifier& notifier, bool supervised, Connections connections);

  bool wanted() const noexcept { return wanted_; }
  /// A connection has come or gone.
  void changed();
  /// A connection is closed that ends only when its duplicate is closed too.
  void changed_urgently();
  /// Gives what there is now.
  void send();

 private:
  void arm(Clock::duration after_last);
  bool try_to_send();

  Loop& loop_;
  const Notifier& notifier_;
  Connections connections_;
  bool wanted_;
  bool failing_ = false;
  Clock::time_point last_{};
  Timer timer_;
};

}  // namespace serverd
