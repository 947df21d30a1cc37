#include "client/pcap2stream/extraction.h"

#include "common/wire/link_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace serverd::pcap2stream {

std::optional<std::chrono::nanoseconds> Extraction::read() {
  const auto packet = file_.next();
  if (!packet) return std::nullopt;
  packet_ = *packet;
  return packet_.timestamp;
}

void Extraction::deliver() {
  const wire::LinkPayload payload = wire::strip_link_layer(file_.link_type(), packet_.bytes);
  if (payload.kind == wire::LinkPayload::Kind::kCut) ++cut_frames_;
  if (payload.kind != wire::LinkPayload::Kind::kIp) return;
  const std::size_t header_size = packet_.bytes.size() - payload.packet.size();
  const std::size_t wire_size = std::max(packet_.wire_size, packet_.bytes.size()) - header_size;
  const auto segment = decoder_.decode(payload.packet, wire_size);
  if (!segment) return;
  if (mode_ == Mode::kReassemble)
    reassembly_.add(*segment, packet_.timestamp);
  else
    pass_on(*segment);
}

void Extraction::pass_on(const TcpSegment& segment) {
  if (segment.payload.empty() || segment.rst) return;
  const auto [entry, is_new] =
      flows_.try_emplace(segment.flow, FlowInfo{flows_.size(), segment.flow, segment.syn});
  if (is_new) sink_.on_flow(entry->second);
  sink_.on_bytes(entry->second, segment.payload);
}

void Extraction::finish() { reassembly_.finish(); }

std::string Extraction::ignored() const {
  std::vector<std::string> parts;
  const auto add = [&parts](std::uint64_t count, std::string_view what) {
    if (count > 0) parts.push_back(fmt::format("{} {}", count, what));
  };
  const IgnoredPackets& packets = decoder_.ignored();
  add(cut_frames_ + packets.malformed, "malformed or cut packets");
  add(packets.snapped_fragments, "cut IPv4 fragments");
  add(packets.ipv6_fragments, "IPv6 fragments");
  add(decoder_.unused_fragment_bytes(), "bytes of incomplete IPv4 datagrams");
  return parts.empty() ? "" : fmt::format("Ignored: {}", fmt::join(parts, ", "));
}

}  // namespace serverd::pcap2stream
