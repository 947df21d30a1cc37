#pragma once

#include "worker/packets/capture_request.h"
#include "worker/packets/packet.h"

#include <cstdint>
#include <string>

namespace serverd::packets {

/// A request as a filter in pcap-filter(7)'s language, for a capture of `link_type`
/// (pcap_datalink(3PCAP)). Compiled, it lets pass every packet that matches() and few others: it
/// cannot look behind IPv6 extension headers. Packets in up to two VLAN tags pass as if they had
/// none, on link types that libpcap knows VLANs on, unless `request.bpf` itself asks about VLANs or
/// other encapsulation. Traffic from and to TCP port `own_port` is left out unless `request.self`.
///
/// `request.bpf` must have been compiled by itself before: a text such as `tcp) or (udp` would
/// otherwise undo the rest.
std::string capture_filter(const CaptureRequest& request, int link_type, std::uint16_t own_port);

/// Whether a frame that passed the filter is really one of those asked for. Events are of TCP and
/// UDP packets only; a pcapng file holds other frames too, where neither transport nor port is
/// asked for. `request.bpf` is not looked at.
bool matches(const CaptureRequest& request, std::uint16_t own_port,
             const Decoded& decoded) noexcept;

}  // namespace serverd::packets
