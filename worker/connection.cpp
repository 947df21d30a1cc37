#include "worker/connection.h"

#include "worker/tcp_progress.h"

#include <cerrno>
#include <utility>

#include <sys/socket.h>

namespace serverd {

using ledger::Cause;

namespace {

// With POLLRDHUP the end of the stream is known before the last bytes are read.
constexpr short kReading = POLLIN | POLLRDHUP;

}  // namespace

Connection::Connection(Loop& loop, ConnectionHost& host, Intake& intake, UniqueFd fd,
                       std::uint32_t slot_index, ledger::Slot& slot,
                       std::unique_ptr<Session> session, Clock::duration idle_timeout,
                       Origin origin)
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
      watch_(loop, fd_.get(), kReading, [this](short events) { on_ready(events); }) {
  if (idle_timeout_ > Clock::duration::zero()) idle_.arm_in(idle_timeout_);
  // What the worker before waited for may be there already, or be worth an answer.
  if (origin == Origin::kResumed && session_->leaves_bytes()) wait_for_more_than(0);
  if (!session_->answers()) return;
  const Opener opener = session_->opened_by_us() ? Opener::kUs : Opener::kPeer;
  sent_ = origin == Origin::kResumed ? bytes_written_to(fd_.get(), opener)
                                     : std::optional<std::uint64_t>(0);
  write_output();
}

void Connection::pause() noexcept {
  paused_ = true;
  if (!finished_) watch_.want(0);
}

void Connection::resume() noexcept {
  if (!paused_) return;
  paused_ = false;
  if (finished_) return;
  last_heard_ = loop_.now();  // while we did not read, the peer could not be heard
  watch_what_is_due();
}

void Connection::watch_what_is_due() noexcept {
  if (paused_ || finished_) return;
  const bool reading = !crowded_ && !eof_;
  watch_.want(static_cast<short>((reading ? kReading : 0) | (output_due_ ? POLLOUT : 0)));
}

void Connection::stop_after_received() {
  if (finished_) return;
  stop_mark_ = slot_.bytes + bytes_waiting_in(fd_.get());
  if (stop_mark_reached()) return finish(Cause::kStopped);
  if (held_ > 0) wait_for_more_than(0);  // what the session waits for does not come any more
}

void Connection::store_received(Clock::time_point deadline) {
  const std::uint64_t mark = slot_.bytes + bytes_waiting_in(fd_.get());
  for (std::uint64_t before = 0; slot_.bytes < mark && Clock::now() < deadline;) {
    if (finished_ || paused_ || crowded_ || eof_ || deferred_) return;
    before = slot_.bytes;
    read_chunk(false);
    if (slot_.bytes == before) return;
  }
}

std::optional<SocketAddress> Connection::local_address() const try {
  return SocketAddress::local_of(fd_.get());
} catch (const std::system_error&) {
  return std::nullopt;
}

void Connection::kill() {
  if (finished_) return;
  const linger at_once{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  to_be_reset_ = true;
  finish(Cause::kKilled);
}

bool Connection::shut_down() const noexcept {
  if (!to_be_reset_) ::shutdown(fd_.get(), SHUT_RDWR);
  return !to_be_reset_;
}

bool Connection::stop_mark_reached() const noexcept {
  return stop_mark_ && slot_.bytes >= *stop_mark_;
}

void Connection::on_ready(short events) {
  if ((events & POLLOUT) != 0) {
    last_heard_ = loop_.now();  // the peer has taken some
    write_output();
    end_if_due();
  }
  if (finished_ || (events & ~POLLOUT) == 0) return;
  if (crowded_ || eof_) {  // POLLERR or POLLHUP: the peer takes nothing more
    give_up_output({});
    if (eof_) return finish_after_eof();
  }
  read_chunk((events & (POLLRDHUP | POLLHUP | POLLERR)) != 0);
}

void Connection::read_chunk(bool ended) {
  const bool last = ended || stop_mark_;
  const Intake::Result result = intake_.move_chunk(
      fd_.get(), slot_index_, *session_, last ? Intake::More::kNever : Intake::More::kMayCome);
  if (result.bytes > 0 || result.held > held_) {
    last_heard_ = loop_.now();
    slot_.last_byte_at.store(static_cast<std::uint64_t>(last_heard_.time_since_epoch().count()),
                             std::memory_order_relaxed);
  }
  if (result.outcome == Intake::Outcome::kDeferred) {
    deferred_ = {result, ended};
    return host_.on_deferred(*this);
  }
  after_chunk(result, ended);
}

void Connection::settle() {
  if (finished_) return;
  if (deferred_) {
    const Deferred chunk = *std::exchange(deferred_, std::nullopt);
    intake_.settle(fd_.get(), slot_index_, chunk.result.bytes);
    return after_chunk(chunk.result, chunk.ended);
  }
  if (sent_) write_output();
  end_if_due();
}

/// As the session, or the peer's end, asks for, once the output is sent.
void Connection::end_if_due() {
  if (finished_) return;
  const std::optional<Cause> cause = session_->ending();
  if (cause == Cause::kSlow) return finish(Cause::kSlow);
  if (sent_ && (output_due_ || more_output_)) return;
  if (cause) {
    // Unread bytes would turn the end into a reset, which can take the last output from the peer.
    const std::uint64_t unread = bytes_waiting_in(fd_.get());
    if (unread > 0) intake_.settle(fd_.get(), slot_index_, unread);
    return finish(*cause);
  }
  if (eof_) finish_after_eof();
}

void Connection::after_chunk(const Intake::Result& result, bool ended) {
  const bool last = ended || stop_mark_;
  if (result.outcome == Intake::Outcome::kMoved || result.outcome == Intake::Outcome::kDeferred)
    host_.on_progress(*this);
  crowded_ = result.crowded && sent_;
  if (sent_) write_output();
  end_if_due();
  if (finished_) return;
  switch (result.outcome) {
    case Intake::Outcome::kDeferred:
    case Intake::Outcome::kMoved:
    case Intake::Outcome::kDrained:
      if (stop_mark_reached()) return finish(Cause::kStopped);
      if (result.crowded) return wait_for_more_than(0);  // there are enough
      if (last && result.held > 0 && result.bytes == 0)
        return ended ? finish_after_eof() : finish(Cause::kStopped);
      if (result.held != held_) wait_for_more_than(result.held);
      return;
    case Intake::Outcome::kEof:
      eof_ = true;
      session_->on_eof();
      write_output();
      return end_if_due();
    case Intake::Outcome::kReset:
      return finish(Cause::kReset, result.error);
    case Intake::Outcome::kStalled:
      return host_.on_stalled(*this, result.error);
    case Intake::Outcome::kBlocked:
      return host_.on_stalled(*this,
                              std::make_error_code(std::errc::resource_unavailable_try_again));
  }
}

/// Bytes that stay in the socket would make it readable for ever; a FIN still does, see tcp(7).
void Connection::wait_for_more_than(std::size_t held) noexcept {
  held_ = held;
  const int least = static_cast<int>(held) + 1;
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
}

void Connection::write_output() noexcept {
  output_due_ = false;
  while (sent_ && !output_due_) {
    const std::span<const std::byte> bytes = session_->output(*sent_);
    if (bytes.empty()) break;
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
      *sent_ += static_cast<std::uint64_t>(n);
    else if (errno == EAGAIN)
      output_due_ = true;
    else if (errno != EINTR)
      give_up_output({errno, std::generic_category()});
  }
  more_output_ = sent_ && session_->more_output();
  if (!output_due_ && !more_output_) crowded_ = false;
  watch_what_is_due();
}

/// The peer is gone. What it had sent is still read; that it was a reset is said only once, here.
void Connection::give_up_output(std::error_code error) noexcept {
  sent_.reset();
  if (error && error != std::errc::broken_pipe) send_error_ = error;
  crowded_ = more_output_ = false;
  session_->on_deaf();
}

void Connection::finish_after_eof() {
  finish(send_error_ ? Cause::kReset : Cause::kEof, send_error_);
}

/// A deadline judges only what could have been heard: bytes that wait in the socket count, time in
/// which we do not read does not.
void Connection::on_idle() {
  const Clock::time_point deadline = last_heard_ + idle_timeout_;
  if (deadline > loop_.now()) return idle_.arm(deadline);
  if (paused_ || bytes_waiting_in(fd_.get()) > held_) return idle_.arm_in(idle_timeout_);
  session_->on_idle();
  finish(Cause::kIdle);
}

void Connection::finish(Cause cause, std::error_code error) {
  finished_ = true;
  slot_.state.store(ledger::SlotState::kClosing, std::memory_order_release);
  idle_.disarm();
  watch_.want(0);
  session_->on_end(cause, error);
  host_.on_finished(*this, cause, error);
}

}  // namespace serverd
