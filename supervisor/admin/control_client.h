#pragma once

#include "common/os/unique_fd.h"
#include "supervisor/admin/instances.h"
#include "supervisor/admin/options.h"
#include "supervisor/control_protocol.h"

#include <string>
#include <vector>

#include <sys/types.h>

namespace serverd {

/// An admin command's end of the control socket. Everything here blocks, up to half a minute, and
/// throws AdminError for what goes wrong.
class ControlClient final {
 public:
  explicit ControlClient(const AdminOptions& options);

  const std::string& instance() const noexcept { return instance_.name; }
  /// Of the daemon.
  pid_t daemon() const;

  InstanceStatus status();
  struct Ledgers {
    std::vector<LedgerOwner> owners;
    std::vector<UniqueFd> descriptors;  ///< in the same order
  };
  Ledgers ledgers(std::uint16_t port);
  /// What was done; what was not is thrown, with the reasons.
  std::string carry_out(const ControlRequest& request);

 private:
  struct Reply {
    std::string line;
    std::vector<UniqueFd> descriptors;
  };
  /// Asks a second time if the daemon was just being upgraded.
  Reply ask_to_see(const ControlRequest& request);
  Reply ask(const ControlRequest& request);
  bool receive_part(Reply& reply) const;

  AdminOptions options_;
  RunningInstance instance_;
};

}  // namespace serverd
