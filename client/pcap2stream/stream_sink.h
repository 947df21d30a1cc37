#pragma once

#include "client/pcap2stream/flow_id.h"
#include "client/pcap2stream/ordered_stream.h"

#include <cstdint>

namespace serverd::pcap2stream {

/// One TCP stream of the capture. The same addresses and ports used again are another flow.
struct FlowInfo {
  std::uint64_t number = 0;  ///< from 0, in the order of the flows' first payload-bearing packets
  FlowId id;
  bool syn_seen = false;  ///< false: followed from its first packet in the capture
};

/// Receives what the capture's TCP streams carry.
class StreamSink {
 public:
  virtual ~StreamSink() = default;

  /// The first packet with payload of this flow; before any other call for it.
  virtual void on_flow(const FlowInfo& flow) = 0;
  virtual void on_bytes(const FlowInfo& flow, Bytes bytes) = 0;
  /// Bytes that the capture does not have; what follows comes after them.
  virtual void on_gap(const FlowInfo& flow, const Gap& gap) = 0;
};

}  // namespace serverd::pcap2stream
