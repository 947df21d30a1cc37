#pragma once

#include "common/ledger.h"
#include "common/os/unique_fd.h"
#include "worker/session.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace serverd {

/// A connection that goes on.
struct ResumedConnection {
  std::uint32_t slot_index;
  UniqueFd fd;
  std::unique_ptr<Session> session;
};

struct Recovery {
  std::vector<ResumedConnection> resumed;
  std::vector<UniqueFd>
      newcomers;      ///< accepted by the predecessor, which died before it noted them
  unsigned lost = 0;  ///< connections that did not survive
};

/// Brings ledger, files and sockets back into step after the predecessor's death, before anything
/// is read: undoes or finishes the chunk it had in hand, then matches `connections` (its sockets,
/// as far as they survived) to slots by SO_COOKIE. Slots without a connection become free and are
/// counted as lost, unless it was ending them. A connection whose count is wrong afterwards is
/// counted in `out_of_step` and said in the log: that is loss.
///
/// `blame_after`: 0, or that the predecessor died by its own fault. If that was so many times in a
/// row with the same bytes in hand, their connection is reset and the port goes on without it.
Recovery recover(ledger::Ledger& ledger, Service& service, std::vector<UniqueFd> connections,
                 unsigned blame_after = 0);

}  // namespace serverd
