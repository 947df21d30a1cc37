#pragma once

#include "client/pcap2stream/stream_sink.h"
#include "client/pcap2stream/tcp_segment.h"

#include <chrono>
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

namespace serverd::pcap2stream {

/// Follows every TCP flow of a capture and delivers its bytes in order, each once.
///
/// A hole is waited for until the peer's acknowledgement shows that the peer got what the capture
/// lacks (with some patience, as captures from several queues are not quite in order), the flow is
/// over (its ports are used again, or the capture ends), or memory runs short. Memory is bounded
/// by Limits, whatever the capture's size.
class Reassembly final {
 public:
  struct Limits {
    std::size_t held_bytes = std::size_t{64} << 20;  ///< behind holes, of all flows together
    std::size_t flows = std::size_t{1} << 18;        ///< followed at a time; the idlest goes first
    std::chrono::nanoseconds patience = std::chrono::seconds(1);  ///< of the capture's time
  };

  explicit Reassembly(StreamSink& sink) : Reassembly(sink, Limits()) {}
  Reassembly(StreamSink& sink, const Limits& limits) : sink_(sink), limits_(limits) {}

  void add(const TcpSegment& segment, std::chrono::nanoseconds timestamp);
  /// The capture has ended: delivers all that is held, with its gaps.
  void finish();

 private:
  struct Flow;
  using Flows = std::list<Flow>;
  using Holes = std::list<Flow*>;

  /// The peer has all before some later byte, so this hole is in the capture only.
  struct AcknowledgedHole {
    std::uint64_t offset = 0;
    std::chrono::nanoseconds since{};
  };

  struct Flow {
    FlowInfo info;
    OrderedStream stream;
    bool announced = false;                   ///< on_flow was called, info.number is valid
    std::optional<Holes::iterator> in_holes;  ///< while bytes are held
    std::optional<AcknowledgedHole> acknowledged_hole;
  };

  Flow* find(const FlowId& id);
  Flow* flow_of(const TcpSegment& segment);
  Flow& begin_flow(const TcpSegment& segment);
  void end_flow(Flows::iterator flow);
  void take_payload(Flow& flow, const TcpSegment& segment);
  void take_acknowledgement(const TcpSegment& segment, std::chrono::nanoseconds timestamp);
  bool skip_hole(Flow& flow);
  void note_hole(Flow& flow);
  void forget_hole(Flow& flow) noexcept;
  OrderedStream::Deliver deliver_to(Flow& flow);

  StreamSink& sink_;
  Limits limits_;
  Flows flows_;  ///< the idlest first
  std::unordered_map<FlowId, Flows::iterator, FlowIdHash> by_id_;
  Holes holes_;  ///< flows with bytes held, the oldest hole first
  std::size_t held_bytes_ = 0;
  std::uint64_t announced_ = 0;
};

}  // namespace serverd::pcap2stream
