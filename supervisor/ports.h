#pragma once

#include "common/config.h"
#include "common/handoff.h"
#include "supervisor/port.h"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <vector>

namespace serverd {

/// Sockets for all that a configuration asks for; nothing is changed yet.
struct Plan {
  struct Item {
    PortSettings settings;
    PortListeners listeners;
  };
  std::vector<Item> ports;
};

/// Says in the log which of the inherited sockets a plan has no use for.
void warn_of_unused(const Plan& plan, const std::vector<NamedFd>& inherited);

/// The ports of an instance. One that is draining because it was removed from the configuration
/// may stand beside one of the same number that is configured now.
class Ports final {
 public:
  using List = std::vector<std::unique_ptr<Port>>;

  /// `environment` must outlive this object.
  explicit Ports(const PortEnvironment& environment) : environment_(environment) {}

  List::const_iterator begin() const noexcept { return ports_.begin(); }
  List::const_iterator end() const noexcept { return ports_.end(); }
  std::size_t size() const noexcept { return ports_.size(); }

  /// The configured port of this number; null if there is none.
  Port* find(std::uint16_t number) const noexcept;
  Port* of_worker(pid_t pid) const noexcept;
  std::size_t count(std::initializer_list<PoolState> states) const;
  /// Without those that only drain; of all states, if none is given.
  std::size_t count_configured(std::initializer_list<PoolState> states = {}) const;

  /// Binds what is not bound yet and makes output directories. `inherited`: sockets of the service
  /// manager, taken by name or by address. All failures are said in one go: throws StartFailure;
  /// nothing has been changed then, but directories may have been made.
  Plan plan(const Config& config, const std::vector<NamedFd>& inherited,
            const std::optional<UserIds>& user) const;
  /// Ports that are not in the plan drain, new ones are started, others take their settings.
  void carry_out(Plan plan);
  /// Goes on with a port of the supervisor before us.
  const Port& adopt(Port::Inherited inherited);
  /// Forgets ports that have drained.
  void drop_retired();

 private:
  UniqueFd have_listener(const SocketAddress& address) const;

  const PortEnvironment& environment_;
  List ports_;
};

}  // namespace serverd
