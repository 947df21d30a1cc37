#pragma once

#include "common/config.h"
#include "common/handoff.h"
#include "common/loop/loop.h"
#include "supervisor/ports.h"
#include "supervisor/reexec.h"
#include "supervisor/spawn.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace serverd {

/// `--adopt-check`: finds out whether this program could go on with what `inherited` holds, without
/// changing anything. Throws HandoffError, StartFailure.
void check_adoption(const Config& config, std::vector<NamedFd> inherited);

/// The upgrade in place: the new program is asked whether it could take over what there is, then
/// it replaces this one, and at last it replaces the workers. A new program that cannot take over
/// changes nothing.
class Upgrade final {
 public:
  /// Gives what is to be handed over, borrowed, as pack_state takes it.
  using State = std::function<std::vector<HandedFd>()>;

  /// `ports` must outlive this object.
  Upgrade(Loop& loop, ProgramStart start, const Ports& ports, State state);

  const std::string& program() const noexcept { return start_.path; }
  bool under_way() const noexcept { return check_ != 0 || timer_.armed(); }
  /// Asks the new program. What comes of it is said in the log.
  void begin();
  /// The instance ends; what is under way no longer replaces this program.
  void cancel() noexcept;
  /// A child was reaped; it may be the one that was asked.
  void on_child_exited(pid_t pid, int code, int status);

  /// After an upgrade: this port's worker is still one of the old program.
  void renew(const Port& port);
  /// Call whenever a port has changed. One at a time, so that trouble with the new worker shows at
  /// one port only.
  void renew_next();

 private:
  void carry_out();
  void on_timer();
  void refuse(const std::string& why);

  ProgramStart start_;
  const Ports& ports_;
  State state_;
  std::vector<std::pair<std::uint16_t, unsigned>> to_renew_;  ///< port and generation
  pid_t check_ = 0;
  Timer timer_;
};

}  // namespace serverd
