#include "client/pcap2stream/listing.h"

#include <fmt/format.h>

namespace serverd::pcap2stream {

std::string digest_line(const Digest& digest, std::uint64_t bytes, const IpAddress& source,
                        const std::string& port) {
  return fmt::format("{} {} {} {}", digest.hex(), bytes, source.to_string(), port);
}

std::string gap_line(const FlowInfo& flow, const Gap& gap) {
  return fmt::format("Gap in {} at offset {}: {} bytes are not in the capture", flow.id.to_string(),
                     gap.offset, gap.length);
}

void Listing::on_flow(const FlowInfo& flow) {
  flows_.push_back({flow.id, flow.syn_seen, 0, 0});
  source_of(flow).flows.push_back(flow.number);
}

void Listing::on_bytes(const FlowInfo& flow, Bytes bytes) {
  flows_[flow.number].bytes += bytes.size();
  Source& source = source_of(flow);
  source.bytes += bytes.size();
  if (with_digests_) source.digest.update(bytes);
}

void Listing::on_gap(const FlowInfo& flow, const Gap& gap) {
  flows_[flow.number].missing += gap.length;
}

Listing::Source& Listing::source_of(const FlowInfo& flow) {
  const IpAddress& address = flow.id.source.address;
  const auto [entry, is_new] = source_index_.try_emplace(address, sources_.size());
  if (is_new) sources_.push_back(Source{address, 0, Digest(), {}});
  return sources_[entry->second];
}

void Listing::print(Console& console, std::optional<std::uint16_t> base_port) const {
  for (std::size_t index = 0; index < sources_.size(); ++index) {
    const Source& source = sources_[index];
    const std::string port =
        base_port ? std::to_string(*base_port + index) : "+" + std::to_string(index);
    if (with_digests_) {
      console.result(digest_line(source.digest, source.bytes, source.address, port));
      continue;
    }
    console.result(fmt::format("{} port {} bytes {} flows {}", source.address.to_string(), port,
                               source.bytes, source.flows.size()));
    for (const std::uint64_t number : source.flows) {
      const Flow& flow = flows_[number];
      console.result(fmt::format("  {} bytes {} missing {}{}", flow.id.to_string(), flow.bytes,
                                 flow.missing, flow.syn_seen ? "" : " no-syn"));
    }
  }
}

}  // namespace serverd::pcap2stream
