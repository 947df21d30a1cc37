#pragma once

#include "common/wire/bytes.h"

#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

/// Builds packets and captures for tests, byte by byte.
namespace serverd::test {

using wire::Bytes;
using Buffer = std::vector<std::uint8_t>;

inline Buffer bytes_of(std::string_view text) { return {text.begin(), text.end()}; }
inline std::string text_of(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

inline Buffer join(std::initializer_list<Buffer> parts) {
  Buffer whole;
  for (const Buffer& part : parts) whole.insert(whole.end(), part.begin(), part.end());
  return whole;
}

inline Buffer u16(unsigned value) {
  return {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}
inline Buffer u32(std::uint32_t value) { return join({u16(value >> 16), u16(value & 0xffff)}); }

constexpr std::uint8_t kFinFlag = 0x01;
constexpr std::uint8_t kSynFlag = 0x02;
constexpr std::uint8_t kRstFlag = 0x04;
constexpr std::uint8_t kAckFlag = 0x10;

/// A TCP segment from host `from` to host `to` (the last byte of their addresses).
struct Segment {
  std::uint8_t from = 5;
  std::uint8_t to = 9;
  std::uint16_t source_port = 4000;
  std::uint16_t destination_port = 80;
  std::uint32_t sequence = 0;
  std::string payload{};
  std::uint8_t flags = kAckFlag;
  std::uint32_t acknowledged = 0;
  Buffer options{};  ///< a multiple of four bytes
};

inline Buffer tcp(const Segment& segment) {
  const auto header_words = static_cast<std::uint8_t>(5 + segment.options.size() / 4);
  return join({u16(segment.source_port),
               u16(segment.destination_port),
               u32(segment.sequence),
               u32(segment.acknowledged),
               {static_cast<std::uint8_t>(header_words << 4), segment.flags},
               u16(65535),
               u16(0),
               u16(0),
               segment.options,
               bytes_of(segment.payload)});
}

/// A UDP datagram, its checksum 0x1234.
inline Buffer udp(std::uint16_t source_port, std::uint16_t destination_port,
                  std::string_view payload) {
  return join({u16(source_port), u16(destination_port),
               u16(static_cast<unsigned>(8 + payload.size())), u16(0x1234), bytes_of(payload)});
}

/// An IPv4 packet from 10.0.0.`from`. `fragment` is the field of flags and offset.
inline Buffer ipv4(std::uint8_t from, std::uint8_t to, const Buffer& payload, unsigned fragment = 0,
                   std::uint8_t protocol = 6) {
  return join({{0x45, 0},
               u16(static_cast<unsigned>(20 + payload.size())),
               u16(7),
               u16(fragment),
               {64, protocol},
               u16(0),
               {10, 0, 0, from},
               {10, 0, 0, to},
               payload});
}

/// An IPv6 packet from fd00::`from`.
inline Buffer ipv6(std::uint8_t from, std::uint8_t to, const Buffer& payload,
                   std::uint8_t next_header = 6) {
  Buffer source(16), destination(16);
  source[0] = destination[0] = 0xfd;
  source[15] = from;
  destination[15] = to;
  return join({{0x60, 0, 0, 0},
               u16(static_cast<unsigned>(payload.size())),
               {next_header, 64},
               source,
               destination,
               payload});
}

inline Buffer ipv4(const Segment& segment) { return ipv4(segment.from, segment.to, tcp(segment)); }
inline Buffer ipv6(const Segment& segment) { return ipv6(segment.from, segment.to, tcp(segment)); }

inline Buffer ethernet(const Buffer& packet, unsigned type = 0x0800) {
  return join({Buffer(12, 0x02), u16(type), packet});
}

struct Recorded {
  std::uint64_t nanoseconds = 0;
  Buffer bytes;
  std::size_t wire_size = 0;  ///< 0: as captured
};

inline Buffer little32(std::uint32_t value) {
  return {static_cast<std::uint8_t>(value), static_cast<std::uint8_t>(value >> 8),
          static_cast<std::uint8_t>(value >> 16), static_cast<std::uint8_t>(value >> 24)};
}

inline std::uint32_t wire_size_of(const Recorded& packet) {
  return static_cast<std::uint32_t>(packet.wire_size == 0 ? packet.bytes.size() : packet.wire_size);
}

/// https://www.tcpdump.org/manpages/pcap-savefile.5.html
inline Buffer pcap_file(const std::vector<Recorded>& packets, std::uint32_t link_type = 1,
                        bool nanoseconds = false) {
  Buffer file = join({little32(nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4),
                      {2, 0, 4, 0},
                      little32(0),
                      little32(0),
                      little32(262144),
                      little32(link_type)});
  for (const Recorded& packet : packets) {
    const auto part = static_cast<std::uint32_t>(packet.nanoseconds % 1'000'000'000);
    file = join({file, little32(static_cast<std::uint32_t>(packet.nanoseconds / 1'000'000'000)),
                 little32(nanoseconds ? part : part / 1000),
                 little32(static_cast<std::uint32_t>(packet.bytes.size())),
                 little32(wire_size_of(packet)), packet.bytes});
  }
  return file;
}

inline Buffer pcapng_block(std::uint32_t type, Buffer body) {
  body.resize((body.size() + 3) / 4 * 4);
  const Buffer length = little32(static_cast<std::uint32_t>(body.size() + 12));
  return join({little32(type), length, body, length});
}

/// https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html; time in units of 10^-`digits`
/// s.
inline Buffer pcapng_file(const std::vector<Recorded>& packets, std::uint8_t digits = 6) {
  Buffer file = join(
      {pcapng_block(0x0a0d0d0a, join({little32(0x1a2b3c4d), {1, 0, 0, 0}, Buffer(8, 0xff)})),
       pcapng_block(
           1,
           join({{1, 0, 0, 0}, little32(262144), {9, 0, 1, 0, digits, 0, 0, 0}, {0, 0, 0, 0}}))});
  for (const Recorded& packet : packets) {
    const std::uint64_t time = digits == 9 ? packet.nanoseconds : packet.nanoseconds / 1000;
    file = join(
        {file, pcapng_block(6, join({little32(0), little32(static_cast<std::uint32_t>(time >> 32)),
                                     little32(static_cast<std::uint32_t>(time)),
                                     little32(static_cast<std::uint32_t>(packet.bytes.size())),
                                     little32(wire_size_of(packet)), packet.bytes}))});
  }
  return file;
}

/// A stream over a copy of `content`, as CaptureFile takes it.
inline std::FILE* stream_of(const Buffer& content) {
  std::FILE* stream = std::tmpfile();
  if (!content.empty()) std::fwrite(content.data(), 1, content.size(), stream);
  std::rewind(stream);
  return stream;
}

}  // namespace serverd::test
