#include "worker/intake.h"

#include "common/log.h"

#include <algorithm>
#include <cerrno>

#include <sys/socket.h>

namespace serverd {

using ledger::IntentState;

namespace {

constexpr std::size_t kBlock = std::size_t{64} << 10;
// Fewer bytes than these are worth no second chunk for what was left.
constexpr std::size_t kManyBytes = 8 * kBlock;

}  // namespace

Intake::Intake(ledger::Ledger& ledger, std::size_t chunk_size)
    : ledger_(ledger),
      chunk_size_(chunk_size),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(chunk_size)) {}

Intake::Result Intake::move_chunk(int fd, std::uint32_t slot_index, Session& session, More more,
                                  std::size_t limit) noexcept {
  const Result peeked = peek(fd, limit);
  if (peeked.outcome != Outcome::kMoved) return peeked;

  const std::span<const std::byte> bytes = worth_moving(session, peeked.bytes);
  const bool last = more == More::kNever && bytes.size() == peeked.bytes &&
                    bytes.size() < std::min(limit, chunk_size_);
  const Taken taken = interpret(slot_index, session, bytes, last);
  const std::size_t held = bytes.size() - taken.protocol - taken.payload;
  if (held == bytes.size())
    return {taken.blocked ? Outcome::kBlocked : Outcome::kDrained, 0, {}, held, taken.crowded};
  if (taken.deferred) return {Outcome::kDeferred, taken.protocol, {}, held, taken.crowded};
  Chunk chunk{slot_index, bytes.subspan(taken.protocol, taken.payload), taken.protocol,
              taken.protocol};
  Sink* sink = nullptr;
  if (taken.payload > 0) {
    sink = session.sink();
    if (const std::error_code error = sink->open()) return {Outcome::kStalled, 0, error};
  }
  note_intent(chunk, sink != nullptr ? sink->committed() : 0);
  std::error_code store_error;
  if (sink != nullptr) store_error = store(chunk, *sink);
  commit(chunk, sink);
  take_out(fd, chunk);
  if (store_error) return {Outcome::kStalled, chunk.consumed, store_error};
  return {
      taken.blocked ? Outcome::kBlocked : Outcome::kMoved, chunk.consumed, {}, held, taken.crowded};
}

void Intake::settle(int fd, std::uint32_t slot_index, std::size_t bytes) noexcept {
  const Chunk chunk{slot_index, {}, bytes, bytes};
  note_intent(chunk, 0);
  commit(chunk, nullptr);
  take_out(fd, chunk);
}

void Intake::take_out(int fd, const Chunk& chunk) noexcept {
  if (chunk.consumed > 0 && !discard(fd, chunk.consumed))
    log::error("connection {}: {} stored bytes could not be taken from the socket",
               ledger_.slots()[chunk.slot_index].id.load(), chunk.consumed);
  forget_intent();
}

/// Bytes whose interpretation ends the worker must not end every worker after it.
Taken Intake::interpret(std::uint32_t slot_index, Session& session,
                        std::span<const std::byte> bytes, bool last) noexcept {
  ledger::Blame& blame = ledger_.blame();
  const ledger::Slot& slot = ledger_.slots()[slot_index];
  blame.offset_in_hand.store(slot.bytes.load(std::memory_order_relaxed), std::memory_order_release);
  blame.cookie_in_hand.store(slot.cookie.load(std::memory_order_relaxed),
                             std::memory_order_release);
  const Taken taken = session.on_bytes(bytes, last);
  blame.cookie_in_hand.store(0, std::memory_order_release);
  return taken;
}

Intake::Result Intake::peek(int fd, std::size_t limit) noexcept {
  for (;;) {
    const ssize_t n =
        ::recv(fd, buffer_.get(), std::min(limit, chunk_size_), MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) return {Outcome::kMoved, static_cast<std::size_t>(n), {}};
    if (n == 0) return {Outcome::kEof};
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return {Outcome::kDrained};
    return {Outcome::kReset, 0, {errno, std::generic_category()}};
  }
}

/// What stays in the socket is the beginning of the next chunk.
std::span<const std::byte> Intake::worth_moving(Session& session,
                                                std::size_t peeked) const noexcept {
  const Sink* sink = peeked >= kManyBytes ? session.sink() : nullptr;
  return {buffer_.get(), sink != nullptr ? whole_blocks(sink->committed(), peeked) : peeked};
}

void Intake::note_intent(const Chunk& chunk, std::uint64_t file_offset) noexcept {
  ledger::Intent& intent = ledger_.intent();
  intent.slot = chunk.slot_index;
  intent.connection_offset = ledger_.slots()[chunk.slot_index].bytes;
  intent.consumed = chunk.protocol_bytes + chunk.payload.size();
  intent.file_offset = file_offset;
  intent.stored = chunk.payload.size();
  intent.port_offset = ledger_.counters().bytes;
  intent.state.store(IntentState::kWriting, std::memory_order_release);
}

std::error_code Intake::store(Chunk& chunk, Sink& sink) noexcept {
  const Sink::Appended appended = sink.append(chunk.payload);
  chunk.consumed = chunk.protocol_bytes + appended.bytes;
  ledger::Intent& intent = ledger_.intent();
  intent.stored = appended.bytes;
  intent.consumed = chunk.consumed;
  return appended.error;
}

void Intake::commit(const Chunk& chunk, Sink* sink) noexcept {
  ledger_.intent().state.store(IntentState::kWritten, std::memory_order_release);
  apply_intent(ledger_, ledger_.slots()[chunk.slot_index], sink);
}

std::size_t whole_blocks(std::uint64_t file_offset, std::size_t size) noexcept {
  return size < kManyBytes ? size : size - (file_offset + size) % kBlock;
}

void apply_intent(ledger::Ledger& ledger, ledger::Slot& slot, Sink* sink) noexcept {
  const ledger::Intent& intent = ledger.intent();
  slot.bytes.store(intent.connection_offset + intent.consumed, std::memory_order_release);
  ledger.counters().bytes.store(intent.port_offset + intent.consumed, std::memory_order_release);
  if (sink != nullptr) sink->commit(intent.file_offset + intent.stored);
}

bool Intake::discard(int fd, std::size_t bytes) noexcept {
  while (bytes > 0) {
    const ssize_t n = ::recv(fd, nullptr, bytes, MSG_TRUNC | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

void Intake::forget_intent() noexcept {
  ledger_.intent().state.store(IntentState::kNone, std::memory_order_release);
}

}  // namespace serverd
