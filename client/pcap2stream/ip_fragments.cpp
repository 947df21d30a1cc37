#include "client/pcap2stream/ip_fragments.h"

#include <tins/exceptions.h>
#include <tins/ip.h>
#include <tins/ip_reassembler.h>

#include <algorithm>

namespace serverd::pcap2stream {

struct IpFragments::Reassembler {
  Tins::IPv4Reassembler streams;
};

IpFragments::IpFragments(std::size_t limit)
    : limit_(limit), reassembler_(std::make_unique<Reassembler>()) {}

IpFragments::~IpFragments() = default;

std::optional<std::vector<std::uint8_t>> IpFragments::add(Bytes fragment) {
  if (held_ > limit_) {
    reassembler_->streams.clear_streams();
    given_up_ += std::exchange(held_, 0);
  }
  try {
    Tins::IP packet(fragment.data(), static_cast<std::uint32_t>(fragment.size()));
    const std::uint64_t size = fragment.size() - packet.header_size();
    held_ += size;
    if (reassembler_->streams.process(packet) != Tins::IPv4Reassembler::REASSEMBLED)
      return std::nullopt;
    const std::uint64_t whole = packet.size() - packet.header_size();
    held_ -= std::min(held_, whole);
    return packet.serialize();
  } catch (const Tins::exception_base&) {
    return std::nullopt;
  }
}

}  // namespace serverd::pcap2stream
