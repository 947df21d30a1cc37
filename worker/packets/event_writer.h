#pragma once

#include "worker/packets/packet.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

/// What the capture stream says, as Server-Sent Events
/// (https://html.spec.whatwg.org/multipage/server-sent-events.html). PROTOCOLS: packets.
namespace serverd::packets {

/// No event of `packet` is longer, whatever its numbers: what write_packet_event() must be given
/// room for.
std::size_t packet_event_bound(const Packet& packet) noexcept;

/// Writes `id: …`, `event: packet` and one line of JSON to the beginning of `out`, which has at
/// least packet_event_bound(packet) bytes. Returns the bytes written. Does not allocate.
std::size_t write_packet_event(std::span<char> out, std::uint64_t id,
                               const Packet& packet) noexcept;

/// An `error` event; the stream ends after it. Of `text` each line becomes one of the event;
/// control characters and bytes that are not UTF-8 are escaped.
void append_error_event(std::string& out, std::string_view text);

/// Packets lost since the stream began, by where they were lost.
struct Drops {
  std::uint64_t kernel = 0;  ///< the capture ring was full
  std::uint64_t queue = 0;   ///< the client's queue was full

  bool operator==(const Drops&) const = default;
};
void append_drops_event(std::string& out, const Drops& drops);

/// `close`, with the text `stop capture`.
void append_close_event(std::string& out);

/// A comment, so that proxies and clients see that the stream lives.
void append_heartbeat(std::string& out);

}  // namespace serverd::packets
