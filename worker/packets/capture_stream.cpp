#include "worker/packets/capture_stream.h"

#include "worker/packets/capture_filter.h"
#include "worker/packets/pcapng.h"

#include <chrono>
#include <utility>

namespace serverd::packets {
namespace {

constexpr auto kTick = std::chrono::seconds(1);
constexpr unsigned kTicksPerHeartbeat = 15;

/// One client's packets must not keep those of others waiting.
constexpr std::size_t kFramesPerTurn = 2'048;

std::uint64_t realtime_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

}  // namespace

CaptureStream::CaptureStream(CapturePool& pool, CaptureRequest request, std::uint32_t snap_length,
                             std::unique_ptr<Capture> capture, std::string filter)
    : pool_(pool),
      request_(std::move(request)),
      snap_length_(snap_length),
      capture_(std::move(capture)),
      filter_(std::move(filter)),
      tick_(*pool.loop, [this] { on_tick(); }) {
  ++pool_.running;
}

CaptureStream::~CaptureStream() { --pool_.running; }

void CaptureStream::start(http::StreamOutput& output) {
  output_ = &output;
  watch_.emplace(*pool_.loop, capture_->fd(), POLLIN, [this](short) { on_ready(); });
  tick_.arm_in(kTick);
  if (!is_file()) return;
  pcapng::append_header(text_, {request_.interface, capture_->link_type(), snap_length_, filter_});
  say();
}

void CaptureStream::on_ready() {
  batch_ = 0;
  const std::optional<std::string> error = capture_->read(kFramesPerTurn, *this);
  output_->flush();
  if (complete()) return finish(std::nullopt);
  if (error) finish(error);
}

bool CaptureStream::on_frame(const Frame& frame) noexcept {
  const Decoded decoded = decode(frame);
  if (!matches(request_, pool_.own_port, decoded)) return true;
  ++seen_;
  const std::size_t bound =
      is_file() ? pcapng::packet_size(frame) : packet_event_bound(decoded.packet);
  if (!has_room(bound)) return true;
  http::Outbox& out = output_->open();
  const std::span<char> room = out.room(bound);
  const std::size_t size = is_file() ? pcapng::write_packet(room, frame)
                                     : write_packet_event(room, seen_, decoded.packet);
  out.commit(size);
  ++sent_;
  batch_ += size;
  return !complete() && batch_ < pool_.queue_bytes / 4;
}

/// A packet that is larger than the queue goes through an empty one.
bool CaptureStream::has_room(std::size_t size) noexcept {
  const std::size_t pending = output_->pending();
  if (pending == 0 || pending + size <= pool_.queue_bytes) return true;
  ++queue_drops_;
  return false;
}

void CaptureStream::on_tick() {
  if (const std::optional<std::string> error = capture_->gone()) return finish(error);
  tick_.arm_in(kTick);
  if (is_file()) return;
  report_drops();
  if (++ticks_ % kTicksPerHeartbeat == 0) append_heartbeat(text_);
  say();
}

void CaptureStream::report_drops() {
  const Drops now = drops();
  if (now == reported_ || output_->pending() > pool_.queue_bytes) return;
  reported_ = now;
  append_drops_event(text_, now);
}

void CaptureStream::say() {
  if (text_.empty()) return;
  output_->open().append(text_);
  output_->flush();
  text_.clear();
}

void CaptureStream::finish(const std::optional<std::string>& error) {
  if (std::exchange(finished_, true)) return;
  watch_->want(0);
  tick_.disarm();
  if (is_file()) {
    const Capture::Counts counts = capture_->counts();
    pcapng::append_statistics(text_,
                              {realtime_ns(), counts.received, counts.dropped, queue_drops_});
  } else {
    report_drops();
    if (error)
      append_error_event(text_, *error);
    else
      append_close_event(text_);
  }
  say();
  output_->finish();
}

void FailedCapture::start(http::StreamOutput& output) {
  std::string text;
  append_error_event(text, error_);
  output.open().append(text);
  output.finish();
}

}  // namespace serverd::packets
