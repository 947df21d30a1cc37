#pragma once

#include "client/pcap2stream/console.h"
#include "client/pcap2stream/digest.h"
#include "client/pcap2stream/stream_sink.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace serverd::pcap2stream {

/// Counts what the capture holds, for --list and --digest: per source, which is per connection,
/// and per flow.
class Listing final : public StreamSink {
 public:
  explicit Listing(bool with_digests) : with_digests_(with_digests) {}

  void on_flow(const FlowInfo& flow) override;
  void on_bytes(const FlowInfo& flow, Bytes bytes) override;
  void on_gap(const FlowInfo& flow, const Gap& gap) override;

  /// A line per source in the order of connections, and below it one per flow. Ports count from
  /// `base_port`; without one "+0", "+1" … stand for what is to be added.
  void print(Console& console, std::optional<std::uint16_t> base_port) const;

 private:
  struct Flow {
    FlowId id;
    bool syn_seen = false;
    std::uint64_t bytes = 0;
    std::uint64_t missing = 0;
  };
  struct Source {
    IpAddress address;
    std::uint64_t bytes = 0;
    Digest digest;
    std::vector<std::uint64_t> flows;  ///< by number
  };

  Source& source_of(const FlowInfo& flow);

  bool with_digests_;
  std::vector<Flow> flows_;  ///< by FlowInfo::number
  std::vector<Source> sources_;
  std::map<IpAddress, std::size_t> source_index_;
};

/// The line of --digest: SHA-256, bytes, source, port.
std::string digest_line(const Digest& digest, std::uint64_t bytes, const IpAddress& source,
                        const std::string& port);
/// The line that reports a gap.
std::string gap_line(const FlowInfo& flow, const Gap& gap);

}  // namespace serverd::pcap2stream
