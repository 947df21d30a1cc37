#pragma once

#include "supervisor/control.h"
#include "supervisor/control_protocol.h"
#include "supervisor/pool.h"
#include "supervisor/ports.h"

#include <functional>
#include <string>
#include <string_view>

namespace serverd {

/// What the control socket gives access to.
struct ControlTarget {
  std::string name;  ///< of the instance
  const Ports& ports;
  std::function<ControlOutcome()> reload;
  std::function<ControlOutcome(StopMode)> stop;
};

/// Carries one request out. Whatever is wrong, with the line or with the doing, is in the reply.
ControlReply answer(const ControlTarget& target, std::string_view line,
                    const ControlPeer& peer) noexcept;

}  // namespace serverd
