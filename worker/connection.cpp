#include "worker/connection.h"

#include "worker/tcp_progress.h"

namespace serverd {

using ledger::Cause;

Connection::Connection(Loop& loop, ConnectionHost& host, Intake& intake, UniqueFd fd,
                       std::uint32_t slot_index, ledger::Slot& slot,
                       std::unique_ptr<Session> session, Clock::duration idle_timeout)
    : loop_(loop),
      host_(host),
      intake_(intake),
      fd_(std::move(fd)),
      slot_index_(slot_index),
      slot_(slot),
      session_(std::move(session)),
      idle_timeout_(idle_timeout),
      last_heard_(loop.now()),
      idle_(loop, [this] { on_idle(); }),
      watch_(loop, fd_.get(), POLLIN, [this](short) { on_readable(); }) {
  if (idle_timeout_ > Clock::duration::zero()) idle_.arm_in(idle_timeout_);
}

void Connection::pause() noexcept {
  if (!finished_) watch_.want(0);
}

void Connection::resume() noexcept {
  if (finished_) return;
  last_heard_ = loop_.now();  // while we did not read, the peer could not be heard
  watch_.want(POLLIN);
}

void Connection::stop_after_received() {
  if (finished_) return;
  stop_mark_ = slot_.bytes + bytes_waiting_in(fd_.get());
  if (stop_mark_reached()) finish(Cause::kStopped);
}

bool Connection::stop_mark_reached() const noexcept {
  return stop_mark_ && slot_.bytes >= *stop_mark_;
}

void Connection::on_readable() {
  const Intake::Result result = intake_.move_chunk(fd_.get(), slot_index_, *session_);
  if (result.bytes > 0) {
    last_heard_ = loop_.now();
    slot_.last_byte_at.store(static_cast<std::uint64_t>(last_heard_.time_since_epoch().count()),
                             std::memory_order_relaxed);
    host_.on_progress();
  }
  switch (result.outcome) {
    case Intake::Outcome::kMoved:
    case Intake::Outcome::kDrained:
      if (stop_mark_reached()) finish(Cause::kStopped);
      return;
    case Intake::Outcome::kEof:
      return finish(Cause::kEof);
    case Intake::Outcome::kReset:
      return finish(Cause::kReset, result.error);
    case Intake::Outcome::kStalled:
      return host_.on_stalled(*this, result.error);
  }
}

/// A deadline judges only what could have been heard: bytes that wait in the socket count.
void Connection::on_idle() {
  const Clock::time_point deadline = last_heard_ + idle_timeout_;
  if (deadline > loop_.now()) return idle_.arm(deadline);
  if (bytes_waiting_in(fd_.get()) > 0) return idle_.arm_in(idle_timeout_);
  finish(Cause::kIdle);
}

void Connection::finish(Cause cause, std::error_code error) {
  finished_ = true;
  slot_.state.store(ledger::SlotState::kClosing, std::memory_order_release);
  idle_.disarm();
  watch_.want(0);
  host_.on_finished(*this, cause, error);
}

}  // namespace serverd
