#include "common/wire/link_layer.h"

#include <algorithm>
#include <array>

namespace serverd::wire {
namespace {

constexpr std::uint16_t kIpv4 = 0x0800;
constexpr std::uint16_t kIpv6 = 0x86dd;
/// 802.1Q, 802.1ad, and what QinQ used before it was standardised.
constexpr std::array<std::uint16_t, 4> kVlanTags = {0x8100, 0x88a8, 0x9100, 0x9200};
constexpr std::size_t kVlanTagSize = 4;

/// AF_INET everywhere; AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
constexpr std::array<std::uint32_t, 5> kAddressFamilies = {2, 10, 24, 28, 30};

constexpr LinkPayload kCut = {LinkPayload::Kind::kCut, {}};
constexpr LinkPayload kOther = {LinkPayload::Kind::kOther, {}};

template <typename Values, typename Value>
bool contains(const Values& values, Value value) noexcept {
  return std::find(values.begin(), values.end(), value) != values.end();
}

/// A header of `header_size` bytes with an EtherType at `type_at`. VLAN tags follow the header.
LinkPayload strip_typed(Bytes frame, std::size_t header_size, std::size_t type_at) noexcept {
  if (frame.size() < header_size) return kCut;
  std::uint16_t type = read_u16(frame, type_at);
  frame = frame.subspan(header_size);
  while (contains(kVlanTags, type)) {
    if (frame.size() < kVlanTagSize) return kCut;
    type = read_u16(frame, 2);
    frame = frame.subspan(kVlanTagSize);
  }
  if (type != kIpv4 && type != kIpv6) return kOther;
  return {LinkPayload::Kind::kIp, frame};
}

LinkPayload strip_raw(Bytes frame) noexcept {
  if (frame.empty()) return kCut;
  const int version = frame[0] >> 4;
  if (version != 4 && version != 6) return kOther;
  return {LinkPayload::Kind::kIp, frame};
}

/// The address family is in the byte order of the capturing machine (NULL) or big-endian (LOOP).
LinkPayload strip_loopback(Bytes frame) noexcept {
  if (frame.size() < 4) return kCut;
  const std::uint32_t family = read_u32(frame, 0);
  if (!contains(kAddressFamilies, family) && !contains(kAddressFamilies, __builtin_bswap32(family)))
    return kOther;
  return {LinkPayload::Kind::kIp, frame.subspan(4)};
}

}  // namespace

std::optional<LinkType> link_type_of(int dlt) noexcept {
  switch (dlt) {
    case 1:  // EN10MB
      return LinkType::kEthernet;
    case 113:  // LINUX_SLL
      return LinkType::kCookedV1;
    case 276:  // LINUX_SLL2
      return LinkType::kCookedV2;
    case 12:   // DLT_RAW
    case 14:   // DLT_RAW of OpenBSD
    case 101:  // LINKTYPE_RAW
    case 228:  // IPV4
    case 229:  // IPV6
      return LinkType::kRawIp;
    case 0:    // NULL
    case 108:  // LOOP
      return LinkType::kLoopback;
    default:
      return std::nullopt;
  }
}

LinkPayload strip_link_layer(LinkType type, Bytes frame) noexcept {
  switch (type) {
    case LinkType::kEthernet:
      return strip_typed(frame, 14, 12);
    case LinkType::kCookedV1:
      return strip_typed(frame, 16, 14);
    case LinkType::kCookedV2:
      return strip_typed(frame, 20, 0);
    case LinkType::kRawIp:
      return strip_raw(frame);
    case LinkType::kLoopback:
      return strip_loopback(frame);
  }
  return kOther;
}

}  // namespace serverd::wire
