#pragma once

#include "client/pcap2stream/stream_sink.h"
#include "tests/support/packets.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace serverd::pcap2stream {

using namespace test;

/// Remembers all that a sink is told, as text.
class RecordingSink final : public StreamSink {
 public:
  struct Stream {
    FlowInfo info;
    std::string bytes;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> gaps;  ///< offset, length
  };

  void on_flow(const FlowInfo& flow) override { streams.push_back({flow, "", {}}); }
  void on_bytes(const FlowInfo& flow, Bytes bytes) override {
    streams.at(flow.number).bytes += text_of(bytes);
    order += text_of(bytes);
  }
  void on_gap(const FlowInfo& flow, const Gap& gap) override {
    streams.at(flow.number).gaps.emplace_back(gap.offset, gap.length);
  }

  std::vector<Stream> streams;  ///< by FlowInfo::number
  std::string order;            ///< the bytes of all streams as they were delivered
};

}  // namespace serverd::pcap2stream
