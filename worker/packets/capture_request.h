#pragma once

#include "common/wire/bytes.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace serverd::packets {

enum class Transport { kTcp, kUdp };

/// An IPv4 or IPv6 address.
struct Address {
  std::array<std::uint8_t, 16> bytes{};  ///< IPv4: the first four
  bool is_v6 = false;

  wire::Bytes view() const noexcept { return wire::Bytes(bytes).first(is_v6 ? 16 : 4); }
  bool operator==(const Address&) const = default;
};

/// What `GET /api/capture` asks for: everything that is named here applies together.
struct CaptureRequest {
  enum class Format { kEvents, kPcapng };

  std::string interface;
  std::optional<Transport> transport;
  std::optional<Address> host;  ///< source or destination; only without the two that follow
  std::optional<Address> source_host;
  std::optional<Address> destination_host;
  std::optional<std::uint16_t> port;  ///< source or destination; only without the two that follow
  std::optional<std::uint16_t> source_port;
  std::optional<std::uint16_t> destination_port;
  std::string bpf;                           ///< a filter in pcap-filter(7)'s language, or empty
  std::optional<std::uint32_t> snap_length;  ///< bytes of a frame, 1 to kLargestSnapLength
  std::optional<std::uint64_t> count;        ///< packets, at least 1; none: without end
  bool self = false;                         ///< the server's own port too
  Format format = Format::kEvents;
};

/// libpcap's MAXIMUM_SNAPLEN.
inline constexpr std::uint32_t kLargestSnapLength = 262'144;

/// Text for a 400's `{"error":"…"}`: UTF-8, one line.
struct BadRequest {
  std::string text;
};

/// `query` is what stands behind the `?` of the request's target, still percent-encoded. Parameters
/// with an empty value count as absent. Whether `bpf` is a filter only libpcap can say.
std::variant<CaptureRequest, BadRequest> parse_capture_request(std::string_view query);

}  // namespace serverd::packets
