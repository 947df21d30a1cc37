#include "worker/recover.h"

#include "common/log.h"
#include "common/os/socket.h"
#include "worker/intake.h"
#include "worker/subject.h"
#include "worker/tcp_progress.h"

#include <optional>
#include <unordered_map>

#include <sys/socket.h>

namespace serverd {
namespace {

using ledger::Cause;
using ledger::IntentState;
using ledger::SlotState;

/// Undoes a torn write or finishes a complete one. Gives the slot whose socket may lag behind.
std::optional<std::uint32_t> settle_intent(ledger::Ledger& ledger, Service& service) {
  ledger::Intent& intent = ledger.intent();
  const IntentState state = intent.state.load(std::memory_order_acquire);
  if (state == IntentState::kNone || intent.slot >= ledger.slots().size()) return std::nullopt;
  ledger::Slot& slot = ledger.slots()[intent.slot];
  const std::unique_ptr<Session> session = service.resume(slot);
  Sink* sink = intent.stored > 0 ? session->sink() : nullptr;
  if (state == IntentState::kWriting) {
    // Nothing that is committed may be cut off, whatever the intent says.
    if (sink != nullptr && sink->committed() == intent.file_offset &&
        sink->cut_to(intent.file_offset))
      ++ledger.counters().torn_repaired;
    return std::nullopt;
  }
  apply_intent(ledger, slot, sink);
  ++ledger.counters().completed;
  return intent.slot;
}

/// What a service has committed is safe, though the predecessor did not come to count it.
void count_committed(ledger::Ledger& ledger, ledger::Slot& slot, std::uint64_t committed) {
  if (committed <= slot.bytes) return;
  ledger.counters().bytes += committed - slot.bytes;
  slot.bytes = committed;
}

/// Takes from the socket what is already safe, for a connection that may lag behind: the one that
/// was in hand, and any whose service committed by itself. All others must be in step.
void bring_into_step(ledger::Ledger& ledger, const ledger::Slot& slot, int fd, bool may_lag) {
  if (!may_lag && has_taken(fd, slot.bytes)) return;
  std::optional<std::uint64_t> taken = bytes_taken_from(fd);
  if (may_lag && taken && *taken < slot.bytes) {
    Intake::discard(fd, slot.bytes - *taken);
    taken = bytes_taken_from(fd);
  }
  if (taken && *taken == slot.bytes) return;
  ++ledger.counters().out_of_step;
  log::error(subject_of(slot),
             "connection {} from {} is out of step after recovery: {} bytes stored, {} taken",
             slot.id.load(), slot.peer.to_address().to_string(), slot.bytes.load(),
             taken ? std::to_string(*taken) : "an unknown number");
}

void give_up(ledger::Ledger& ledger, ledger::Slot& slot) {
  ledger.count_close(Cause::kLost);
  log::error(subject_of(slot), "Connection {} from {} was lost with its worker, after {} bytes",
             slot.id.load(), slot.peer.to_address().to_string(), slot.bytes.load());
  slot.state.store(SlotState::kFree, std::memory_order_release);
}

/// Counts a death against the bytes that were being interpreted.
void settle_blame(ledger::Blame& blame, bool own_fault) {
  const std::uint64_t cookie = blame.cookie_in_hand.exchange(0);
  if (cookie == 0 || !own_fault) return;
  const std::uint64_t offset = blame.offset_in_hand;
  const bool again = cookie == blame.blamed_cookie && offset == blame.blamed_offset;
  blame.deaths = again ? blame.deaths + 1 : 1;
  blame.blamed_cookie = cookie;
  blame.blamed_offset = offset;
}

bool is_to_blame(const ledger::Blame& blame, const ledger::Slot& slot, unsigned blame_after) {
  return blame_after > 0 && blame.deaths >= blame_after && blame.blamed_cookie == slot.cookie &&
         blame.blamed_offset == slot.bytes;
}

void reset_connection(ledger::Ledger& ledger, ledger::Slot& slot, UniqueFd fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ledger.count_close(Cause::kBlamed);
  log::error(subject_of(slot),
             "Connection {} from {} is reset: what it sent after {} bytes has ended {} workers",
             slot.id.load(), slot.peer.to_address().to_string(), slot.bytes.load(),
             ledger.blame().deaths.load());
  ledger.blame().deaths = 0;
  slot.state.store(SlotState::kFree, std::memory_order_release);
}

}  // namespace

Recovery recover(ledger::Ledger& ledger, Service& service, std::vector<UniqueFd> connections,
                 unsigned blame_after) {
  settle_blame(ledger.blame(), blame_after > 0);
  const std::optional<std::uint32_t> in_hand = settle_intent(ledger, service);
  std::unordered_map<std::uint64_t, UniqueFd> by_cookie;
  for (UniqueFd& fd : connections) {
    const std::uint64_t cookie = socket_cookie(fd.get());
    by_cookie[cookie] = std::move(fd);
  }

  Recovery recovery;
  for (std::uint32_t index = 0; index < ledger.slots().size(); ++index) {
    ledger::Slot& slot = ledger.slots()[index];
    const SlotState state = slot.state.load(std::memory_order_acquire);
    if (state == SlotState::kFree) continue;
    const auto found = by_cookie.find(slot.cookie);
    if (found != by_cookie.end() && is_to_blame(ledger.blame(), slot, blame_after)) {
      reset_connection(ledger, slot, std::move(found->second));
      by_cookie.erase(found);
    } else if (found != by_cookie.end()) {
      const std::optional<std::uint64_t> committed = service.committed_offset(slot);
      if (committed) count_committed(ledger, slot, *committed);
      bring_into_step(ledger, slot, found->second.get(), committed || in_hand == index);
      slot.state.store(SlotState::kOpen, std::memory_order_release);
      recovery.resumed.push_back({index, std::move(found->second), service.resume(slot)});
      by_cookie.erase(found);
    } else if (state == SlotState::kClosing) {
      slot.state.store(SlotState::kFree, std::memory_order_release);
    } else {
      give_up(ledger, slot);
      ++recovery.lost;
    }
  }
  ledger.intent().state.store(IntentState::kNone, std::memory_order_release);
  for (auto& [cookie, fd] : by_cookie) recovery.newcomers.push_back(std::move(fd));
  return recovery;
}

}  // namespace serverd
