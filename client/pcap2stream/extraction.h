#pragma once

#include "client/pcap2stream/capture_file.h"
#include "client/pcap2stream/reassembly.h"
#include "client/pcap2stream/stream_sink.h"
#include "client/pcap2stream/tcp_segment.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

namespace serverd::pcap2stream {

enum class Mode {
  kReassemble,  ///< each byte once, in order
  kPackets,     ///< each packet's payload as it comes, retransmissions too
};

/// One pass over a capture: file → link layer → TCP segment → streams → sink. Reads only when told
/// to, packet by packet, so that whoever takes the bytes sets the pace.
class Extraction final {
 public:
  Extraction(CaptureFile file, Mode mode, StreamSink& sink)
      : file_(std::move(file)), mode_(mode), sink_(sink), reassembly_(sink) {}

  /// Reads the next packet and returns its time; empty at the end of the capture.
  std::optional<std::chrono::nanoseconds> read();
  /// Hands what the packet just read brings to the sink.
  void deliver();
  /// After the last packet: hands on what was waiting behind gaps.
  void finish();

  const CaptureFile& file() const noexcept { return file_; }
  /// One line about packets that could not be used; empty if there were none.
  std::string ignored() const;

 private:
  void pass_on(const TcpSegment& segment);

  CaptureFile file_;
  Mode mode_;
  StreamSink& sink_;
  SegmentDecoder decoder_;
  Reassembly reassembly_;
  std::unordered_map<FlowId, FlowInfo, FlowIdHash> flows_;  ///< kPackets only
  CapturedPacket packet_;
  std::uint64_t cut_frames_ = 0;
};

}  // namespace serverd::pcap2stream
