#pragma once

#include "common/loop/loop.h"
#include "worker/http/stream.h"
#include "worker/packets/capture.h"
#include "worker/packets/capture_request.h"
#include "worker/packets/event_writer.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace serverd::packets {

/// What all captures of a port share. Outlives them.
struct CapturePool {
  Loop* loop = nullptr;
  std::uint16_t own_port = 0;
  std::size_t queue_bytes = 0;  ///< that wait for one client
  unsigned running = 0;         ///< captures now
};

/// One client's capture: frames become events, or packets of a pcapng file, straight in the
/// connection's output. What finds no room there is lost for this client, and counted.
class CaptureStream final : public http::Stream, FrameSink {
 public:
  /// `capture` has its filter.
  CaptureStream(CapturePool& pool, CaptureRequest request, std::uint32_t snap_length,
                std::unique_ptr<Capture> capture, std::string filter);
  ~CaptureStream() override;
  void start(http::StreamOutput& output) override;

 private:
  bool is_file() const noexcept { return request_.format == CaptureRequest::Format::kPcapng; }
  void on_ready();
  void on_tick();
  bool on_frame(const Frame& frame) noexcept override;
  bool has_room(std::size_t size) noexcept;
  bool complete() const noexcept { return request_.count && sent_ >= *request_.count; }
  void report_drops();
  Drops drops() const noexcept { return {capture_->counts().dropped, queue_drops_}; }
  void say();
  void finish(const std::optional<std::string>& error);

  CapturePool& pool_;
  CaptureRequest request_;
  std::uint32_t snap_length_;
  std::unique_ptr<Capture> capture_;
  std::string filter_;
  http::StreamOutput* output_ = nullptr;
  std::uint64_t seen_ = 0;  ///< packets asked for, lost ones too
  std::uint64_t sent_ = 0;
  std::uint64_t queue_drops_ = 0;
  Drops reported_;
  std::size_t batch_ = 0;  ///< bytes written in this turn
  unsigned ticks_ = 0;
  bool finished_ = false;
  std::string text_;  ///< what is not a packet, on its way to the output
  Timer tick_;
  std::optional<Watch> watch_;  ///< once started
};

/// A capture that could not be made: one error event.
class FailedCapture final : public http::Stream {
 public:
  explicit FailedCapture(std::string error) : error_(std::move(error)) {}
  void start(http::StreamOutput& output) override;

 private:
  std::string error_;
};

}  // namespace serverd::packets
