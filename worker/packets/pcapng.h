#pragma once

#include "worker/packets/packet.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

/// Writes captures in the pcapng format
/// (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html), little-endian, with
/// nanoseconds: one section, one interface, then its packets, and its statistics at the end.
namespace serverd::packets::pcapng {

struct Interface {
  std::string_view name;
  int link_type = 0;              ///< as pcap_datalink(3PCAP) says
  std::uint32_t snap_length = 0;  ///< 0: not limited
  std::string_view filter;        ///< the filter that packets have passed; may be empty
};

/// What comes before the first packet: section header and interface description.
void append_header(std::string& out, const Interface& interface);

/// Exactly what write_packet() writes.
std::size_t packet_size(const Frame& frame) noexcept;
/// Writes an enhanced packet block to the beginning of `out`, which has at least packet_size(frame)
/// bytes. Does not allocate.
std::size_t write_packet(std::span<char> out, const Frame& frame) noexcept;

struct Statistics {
  std::uint64_t timestamp_ns = 0;    ///< of now, since the epoch
  std::uint64_t received = 0;        ///< frames that passed the filter, lost ones too
  std::uint64_t kernel_dropped = 0;  ///< the capture ring was full
  std::uint64_t queue_dropped = 0;   ///< the client's queue was full
};
/// An interface statistics block, fit for the end of a capture.
void append_statistics(std::string& out, const Statistics& statistics);

}  // namespace serverd::packets::pcapng
