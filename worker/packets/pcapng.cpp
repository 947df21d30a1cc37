#include "worker/packets/pcapng.h"

#include <bit>
#include <cassert>
#include <cstring>
#include <initializer_list>

namespace serverd::packets::pcapng {
namespace {

static_assert(std::endian::native == std::endian::little, "blocks are written as numbers stand");

constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr std::uint32_t kInterfaceDescription = 1;
constexpr std::uint32_t kInterfaceStatistics = 5;
constexpr std::uint32_t kEnhancedPacket = 6;

/// Type and length before a block's body, the length again behind it.
constexpr std::size_t kFrameOfBlock = 12;
/// Interface, time in two halves, captured and original length.
constexpr std::size_t kPacketFields = 20;

constexpr std::size_t padded(std::size_t size) noexcept { return (size + 3) / 4 * 4; }

template <typename Number>
void put(std::string& out, Number number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

enum Option : std::uint16_t {
  kEndOfOptions = 0,
  kUserApplication = 4,  ///< section header
  kName = 2,             ///< interface description
  kTimestampResolution = 9,
  kFilter = 11,
  kDropped = 5,  ///< interface statistics
  kFilterAccepted = 6,
  kOsDropped = 7,
};

void put_option(std::string& out, Option code, std::string_view value) {
  value = value.substr(0, UINT16_MAX);
  put(out, static_cast<std::uint16_t>(code));
  put(out, static_cast<std::uint16_t>(value.size()));
  out += value;
  out.append(padded(value.size()) - value.size(), '\0');
}

void put_option(std::string& out, Option code, std::uint64_t value) {
  put_option(out, code, {reinterpret_cast<const char*>(&value), sizeof value});
}

void put_end_of_options(std::string& out) { put_option(out, kEndOfOptions, std::string_view()); }

void put_block(std::string& out, std::uint32_t type, const std::string& body) {
  assert(body.size() % 4 == 0);
  const auto size = static_cast<std::uint32_t>(body.size() + kFrameOfBlock);
  put(out, type);
  put(out, size);
  out += body;
  put(out, size);
}

/// Files have a number of their own for what libpcap calls otherwise on each system.
std::uint16_t file_link_type(int dlt) noexcept {
  constexpr int kDltRaw = 12;
  constexpr std::uint16_t kLinkTypeRaw = 101;
  return dlt == kDltRaw ? kLinkTypeRaw : static_cast<std::uint16_t>(dlt);
}

void append_section_header(std::string& out) {
  std::string body;
  put(body, std::uint32_t{0x1a2b3c4d});
  put(body, std::uint16_t{1});
  put(body, std::uint16_t{0});
  put(body, ~std::uint64_t{0});  // the section's length is not known
  put_option(body, kUserApplication, "stream-serverd " STREAM_SERVERD_VERSION);
  put_end_of_options(body);
  put_block(out, kSectionHeader, body);
}

void put_time(std::string& out, std::uint64_t nanoseconds) {
  put(out, static_cast<std::uint32_t>(nanoseconds >> 32));
  put(out, static_cast<std::uint32_t>(nanoseconds));
}

}  // namespace

void append_header(std::string& out, const Interface& interface) {
  append_section_header(out);
  std::string body;
  put(body, file_link_type(interface.link_type));
  put(body, std::uint16_t{0});
  put(body, interface.snap_length);
  put_option(body, kName, interface.name);
  put_option(body, kTimestampResolution, std::string_view("\x09"));
  // The first byte says that the filter is text in libpcap's language.
  if (!interface.filter.empty())
    put_option(body, kFilter, std::string(1, '\0').append(interface.filter));
  put_end_of_options(body);
  put_block(out, kInterfaceDescription, body);
}

std::size_t packet_size(const Frame& frame) noexcept {
  return kFrameOfBlock + kPacketFields + padded(frame.bytes.size());
}

std::size_t write_packet(std::span<char> out, const Frame& frame) noexcept {
  const std::size_t size = packet_size(frame);
  assert(out.size() >= size);
  const std::uint32_t fields[] = {kEnhancedPacket,
                                  static_cast<std::uint32_t>(size),
                                  0,
                                  static_cast<std::uint32_t>(frame.timestamp_ns >> 32),
                                  static_cast<std::uint32_t>(frame.timestamp_ns),
                                  static_cast<std::uint32_t>(frame.bytes.size()),
                                  frame.original_length};
  char* at = out.data();
  std::memcpy(at, fields, sizeof fields);
  at += sizeof fields;
  if (!frame.bytes.empty()) std::memcpy(at, frame.bytes.data(), frame.bytes.size());
  at += frame.bytes.size();
  const std::size_t padding = padded(frame.bytes.size()) - frame.bytes.size();
  std::memset(at, 0, padding);
  std::memcpy(at + padding, &fields[1], sizeof fields[1]);
  return size;
}

void append_statistics(std::string& out, const Statistics& statistics) {
  std::string body;
  put(body, std::uint32_t{0});  // the interface
  put_time(body, statistics.timestamp_ns);
  put_option(body, kDropped, statistics.kernel_dropped + statistics.queue_dropped);
  put_option(body, kFilterAccepted, statistics.received);
  put_option(body, kOsDropped, statistics.kernel_dropped);
  put_end_of_options(body);
  put_block(out, kInterfaceStatistics, body);
}

}  // namespace serverd::packets::pcapng
