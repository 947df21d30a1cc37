#pragma once

#include "common/wire/bytes.h"

#include <optional>

namespace serverd::wire {

/// The link layers we can strip, https://www.tcpdump.org/linktypes.html.
enum class LinkType {
  kEthernet,  ///< with any number of VLAN tags (802.1Q, 802.1ad)
  kCookedV1,  ///< LINKTYPE_LINUX_SLL
  kCookedV2,  ///< LINKTYPE_LINUX_SLL2
  kRawIp,     ///< LINKTYPE_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6
  kLoopback,  ///< LINKTYPE_NULL, LINKTYPE_LOOP
};

/// What pcap_datalink(3PCAP) calls it, or a file's LINKTYPE_ value; empty if we cannot strip it.
std::optional<LinkType> link_type_of(int dlt) noexcept;

struct LinkPayload {
  enum class Kind {
    kIp,     ///< `packet` is an IP packet, with whatever padding follows it
    kOther,  ///< a whole frame of another protocol
    kCut,    ///< the frame ends within its link-layer header
  };

  Kind kind = Kind::kOther;
  Bytes packet;
};

/// What a frame carries. `packet` borrows from `frame`.
LinkPayload strip_link_layer(LinkType type, Bytes frame) noexcept;

}  // namespace serverd::wire
