#pragma once

#include "common/ledger.h"
#include "common/log.h"

namespace serverd {

/// For events of the connection in `slot`.
inline log::Subject subject_of(const ledger::Slot& slot) {
  return {.peer = slot.peer.to_address().to_string(), .connection = slot.id};
}

}  // namespace serverd
