#include "client/pcap2stream/reassembly.h"

#include <cstdlib>
#include <iterator>

namespace serverd::pcap2stream {
namespace {

/// No window is larger (RFC 7323): a segment further away is not of this stream.
constexpr std::int32_t kLargestWindow = 1 << 30;

bool is_near(const OrderedStream& stream, std::uint32_t sequence) {
  return std::abs(std::int64_t{stream.distance(sequence)}) <= kLargestWindow;
}

bool bears_payload(const TcpSegment& segment) {
  // What an RST carries is a remark for people (RFC 9293 section 3.5.3).
  return !segment.rst && segment.payload.size() + segment.missing > 0;
}

std::uint32_t end_of(const TcpSegment& segment) {
  return segment.sequence + static_cast<std::uint32_t>(segment.payload.size() + segment.missing);
}

}  // namespace

void Reassembly::add(const TcpSegment& segment, std::chrono::nanoseconds timestamp) {
  if (Flow* flow = flow_of(segment)) take_payload(*flow, segment);
  if (!holes_.empty()) take_acknowledgement(segment, timestamp);
  while (held_bytes_ > limits_.held_bytes && !holes_.empty()) skip_hole(*holes_.front());
  while (flows_.size() > limits_.flows) end_flow(flows_.begin());
}

void Reassembly::finish() {
  while (!flows_.empty()) end_flow(flows_.begin());
}

Reassembly::Flow* Reassembly::find(const FlowId& id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &*found->second;
}

/// The flow that a segment belongs to, moved to the end of the idle order; null for one that
/// neither belongs to a flow nor begins one.
Reassembly::Flow* Reassembly::flow_of(const TcpSegment& segment) {
  const auto found = by_id_.find(segment.flow);
  if (found != by_id_.end()) {
    Flow& flow = *found->second;
    const std::uint32_t first = flow.stream.first_sequence();
    const bool used_again = segment.syn
                                ? segment.sequence != first
                                : bears_payload(segment) && !is_near(flow.stream, segment.sequence);
    // A first packet that was a keep-alive probe stands one before the next byte.
    const bool after_probe =
        !flow.info.syn_seen && flow.stream.untouched() && segment.sequence == first + 1;
    if (!used_again && !after_probe) {
      flows_.splice(flows_.end(), flows_, found->second);
      return &flow;
    }
    end_flow(found->second);
  }
  return segment.rst ? nullptr : &begin_flow(segment);
}

Reassembly::Flow& Reassembly::begin_flow(const TcpSegment& segment) {
  Flow& flow = flows_.emplace_back(
      Flow{{0, segment.flow, segment.syn}, OrderedStream(segment.sequence), false, {}, {}});
  by_id_[segment.flow] = std::prev(flows_.end());
  return flow;
}

void Reassembly::end_flow(Flows::iterator flow) {
  while (skip_hole(*flow)) {
  }
  by_id_.erase(flow->info.id);
  flows_.erase(flow);
}

void Reassembly::take_payload(Flow& flow, const TcpSegment& segment) {
  if (!bears_payload(segment)) {
    if (segment.fin) flow.stream.extend_to(end_of(segment));
    return;
  }
  if (!flow.announced) {
    // A keep-alive probe may carry a byte, of no meaning, before the first one.
    if (flow.stream.distance(end_of(segment)) <= 0) return;
    flow.info.number = announced_++;
    flow.announced = true;
    sink_.on_flow(flow.info);
  }
  if (segment.fin || segment.missing > 0) flow.stream.extend_to(end_of(segment));
  held_bytes_ -= flow.stream.held_cost();
  flow.stream.insert(segment.sequence, segment.payload, deliver_to(flow));
  held_bytes_ += flow.stream.held_cost();
  note_hole(flow);
}

/// What `segment` acknowledges belongs to the flow in the other direction.
void Reassembly::take_acknowledgement(const TcpSegment& segment,
                                      std::chrono::nanoseconds timestamp) {
  if (!segment.acknowledged) return;
  Flow* flow = find({segment.flow.destination, segment.flow.source});
  if (flow == nullptr || !flow->stream.hole_is_before(*segment.acknowledged)) return;
  const std::uint64_t offset = flow->stream.hole()->offset;
  auto& known = flow->acknowledged_hole;
  if (!known || known->offset != offset) known = AcknowledgedHole{offset, timestamp};
  if (timestamp - known->since < limits_.patience) return;
  while (flow->stream.hole_is_before(*segment.acknowledged)) skip_hole(*flow);
}

bool Reassembly::skip_hole(Flow& flow) {
  // Reported before the bytes behind it are delivered, which skipping does at once.
  const std::optional<Gap> gap = flow.stream.hole();
  if (!gap) return false;
  if (flow.announced) sink_.on_gap(flow.info, *gap);
  held_bytes_ -= flow.stream.held_cost();
  flow.stream.skip_hole(deliver_to(flow));
  held_bytes_ += flow.stream.held_cost();
  forget_hole(flow);
  note_hole(flow);
  return true;
}

/// Keeps `holes_` in step with whether bytes are held.
void Reassembly::note_hole(Flow& flow) {
  if (flow.stream.holds_bytes() && !flow.in_holes) {
    flow.in_holes = holes_.insert(holes_.end(), &flow);
  } else if (!flow.stream.holds_bytes()) {
    forget_hole(flow);
  }
}

void Reassembly::forget_hole(Flow& flow) noexcept {
  if (flow.in_holes) holes_.erase(*flow.in_holes);
  flow.in_holes.reset();
}

OrderedStream::Deliver Reassembly::deliver_to(Flow& flow) {
  return [this, &flow](Bytes bytes) { sink_.on_bytes(flow.info, bytes); };
}

}  // namespace serverd::pcap2stream
