#include "worker/chat/chat_session.h"

#include "worker/chat/chat_service.h"

#include <algorithm>

namespace serverd::chat {

ChatSession::ChatSession(ChatService& service, ledger::Slot& slot, std::uint32_t slot_index)
    : service_(service), slot_(slot), slot_index_(slot_index) {
  state.cookie = slot.cookie;
  state.taken = slot.bytes;
  service_.enter(*this);
}

ChatSession::~ChatSession() { service_.leave(*this); }

bool ChatSession::opened_by_us() const noexcept { return outgoing; }

/// Whole commands, and the beginning of one, which is kept: bytes left in the socket would keep its
/// memory, and the rest of the command might find no room (tried: it did not).
Taken ChatSession::on_bytes(std::span<const std::byte> bytes, bool last) noexcept {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view fresh = all.substr(0, kMostAtOnce);
  const bool more = fresh.size() < all.size();
  Taken taken;
  taken.deferred = true;
  taken.protocol = take_fresh(fresh, last && !more, taken.crowded);
  taken.crowded = taken.crowded || more;
  if (taken.protocol == 0 && !touched) return taken;
  state.taken = slot_.bytes + taken.protocol;
  service_.touch(*this);
  return taken;
}

std::size_t ChatSession::take_fresh(std::string_view fresh, bool last, bool& crowded) {
  if (state.partial.empty()) {
    const std::size_t done = take_commands(fresh, last, crowded);
    if (crowded) return done;
    state.partial = fresh.substr(done);
    return fresh.size();
  }
  const std::string all = state.partial + std::string(fresh);
  const std::size_t before = state.partial.size();
  const std::size_t done = take_commands(all, last, crowded);
  if (!crowded) {
    state.partial = all.substr(done);
    return fresh.size();
  }
  state.partial = done < before ? all.substr(done, before - done) : "";
  return done < before ? 0 : done - before;
}

/// A last line needs no end.
void ChatSession::on_eof() noexcept {
  heard_all_ = true;
  if (!state.partial.empty()) on_bytes({}, true);
}

std::size_t ChatSession::take_commands(std::string_view bytes, bool last, bool& crowded) {
  static thread_local std::string scratch;
  std::size_t done = 0;
  while (done < bytes.size()) {
    if (ending_for) return bytes.size();  // nobody answers these
    crowded = !deaf_ && (state.reading != 0 || out.pending() >= kCrowded);
    if (crowded) break;
    const tsam::Step step =
        tsam::next_command(bytes.substr(done), {framing(), state.skipping}, last, scratch);
    if (step.event == tsam::Event::kNeedMore) break;
    state.framing = static_cast<unsigned>(step.next.framing);
    state.skipping = step.next.skipping;
    done += step.consumed;
    if (step.event == tsam::Event::kCommand) service_.execute(*this, step.text);
    if (step.event == tsam::Event::kTooLong) service_.refuse_long(*this, step.text);
  }
  return done;
}

std::span<const std::byte> ChatSession::output(std::uint64_t sent) noexcept {
  const auto due = out.after(sent);
  drop_delivered(sent);
  if (due.empty() && state.reading != 0 && out.uncommitted().empty())
    service_.continue_reading(*this);
  return due;
}

void ChatSession::drop_delivered(std::uint64_t sent) noexcept {
  if (on_the_way.empty() || on_the_way.front().sent_at > sent) return;
  const auto first_left = std::find_if(on_the_way.begin(), on_the_way.end(),
                                       [&](const OnTheWay& it) { return it.sent_at > sent; });
  for (auto it = on_the_way.begin(); it != first_left; ++it) service_.on_delivered(*it);
  on_the_way.erase(on_the_way.begin(), first_left);
  if (on_the_way.empty()) std::vector<OnTheWay>().swap(on_the_way);
}

void ChatSession::on_deaf() noexcept {
  deaf_ = true;
  state.reading = 0;
}

void ChatSession::on_end(ledger::Cause, std::error_code) noexcept {
  ended = true;
  service_.on_session_end(*this);
}

void ChatSession::say(std::string_view command) {
  if (deaf_ || ended) return;
  tsam::encode(out.tail(), command, framing());
}

}  // namespace serverd::chat
