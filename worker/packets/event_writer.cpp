#include "worker/packets/event_writer.h"

#include "common/printable.h"
#include "worker/packets/base64.h"
#include "worker/packets/tcp_options.h"

#include <fmt/format.h>

#include <cassert>
#include <charconv>
#include <cstring>
#include <iterator>

#include <arpa/inet.h>

namespace serverd::packets {
namespace {

// The longest text of each part, with values of the greatest width: their sizes are the bounds.
constexpr std::string_view kLongestBeginning =
    "id: 18446744073709551615\nevent: packet\n"
    R"(data: {"timestamp":18446744073709,"packet_size":4294967295,"src_ip":"","dst_ip":"","proto":)";
constexpr std::string_view kLongestTcp =
    R"("tcp","tcp":{"src":65535,"dst":65535,"seq":4294967295,"ack":4294967295,"data_offset":15,)"
    R"("FIN":false,"SYN":false,"RST":false,"PSH":false,"ACK":false,"URG":false,"ECE":false,)"
    R"("CWR":false,"NS":false,"window":65535,"checksum":65535,"urgent":65535,)"
    R"("payload":"","options":null,"Padding":null},"udp":null})";
constexpr std::string_view kLongestUdp =
    R"("udp","tcp":null,"udp":{"src":65535,"dst":65535,"length":65535,"checksum":65535,)"
    R"("payload":""}})";
/// Options of one byte need most for each of their bytes.
constexpr std::string_view kLongestOption = R"({"type":1,"length":1,"data":null},)";
constexpr std::string_view kNull = "null";
constexpr std::string_view kEnd = "\n\n";

/// The longest texts of inet_ntop(3), without NUL.
constexpr std::size_t address_bound(std::size_t size) noexcept {
  return (size == 4 ? INET_ADDRSTRLEN : INET6_ADDRSTRLEN) - 1;
}

/// Writes JSON to memory whose size was checked before.
class Writer final {
 public:
  explicit Writer(std::span<char> out) noexcept : at_(out.data()), end_(at_ + out.size()) {}

  char* at() const noexcept { return at_; }

  template <std::size_t size>
  void text(const char (&literal)[size]) noexcept {
    std::memcpy(at_, literal, size - 1);
    at_ += size - 1;
  }
  void number(std::uint64_t value) noexcept { at_ = std::to_chars(at_, end_, value).ptr; }
  void boolean(bool value) noexcept {
    if (value)
      text("true");
    else
      text("false");
  }
  void base64(wire::Bytes bytes) noexcept {
    text("\"");
    at_ = write_base64(at_, bytes);
    text("\"");
  }
  void base64_or_null(const std::optional<wire::Bytes>& bytes) noexcept {
    if (bytes)
      base64(*bytes);
    else
      text("null");
  }
  void address(wire::Bytes address) noexcept {
    text("\"");
    if (address.size() == 4)
      ipv4(address);
    else
      ipv6(address);
    text("\"");
  }
  void drop_last() noexcept { --at_; }

 private:
  void ipv4(wire::Bytes address) noexcept {
    for (const std::uint8_t part : address) {
      number(part);
      text(".");
    }
    drop_last();
  }
  /// inet_ntop(3) writes a NUL behind; what comes next overwrites it.
  void ipv6(wire::Bytes address) noexcept {
    ::inet_ntop(AF_INET6, address.data(), at_, static_cast<socklen_t>(end_ - at_));
    at_ += std::strlen(at_);
  }

  char* at_;
  char* end_;
};

void write_flags(Writer& out, std::uint16_t flags) noexcept {
  out.text(",\"FIN\":");
  out.boolean((flags & Tcp::kFin) != 0);
  out.text(",\"SYN\":");
  out.boolean((flags & Tcp::kSyn) != 0);
  out.text(",\"RST\":");
  out.boolean((flags & Tcp::kRst) != 0);
  out.text(",\"PSH\":");
  out.boolean((flags & Tcp::kPsh) != 0);
  out.text(",\"ACK\":");
  out.boolean((flags & Tcp::kAck) != 0);
  out.text(",\"URG\":");
  out.boolean((flags & Tcp::kUrg) != 0);
  out.text(",\"ECE\":");
  out.boolean((flags & Tcp::kEce) != 0);
  out.text(",\"CWR\":");
  out.boolean((flags & Tcp::kCwr) != 0);
  out.text(",\"NS\":");
  out.boolean((flags & Tcp::kNs) != 0);
}

/// No options are null, and so is padding that nothing begins.
void write_options(Writer& out, wire::Bytes bytes) noexcept {
  TcpOptions options(bytes);
  std::optional<TcpOption> option = options.next();
  out.text(",\"options\":");
  if (option) {
    out.text("[");
    for (; option; option = options.next()) {
      out.text("{\"type\":");
      out.number(option->type);
      out.text(",\"length\":");
      out.number(option->length);
      out.text(",\"data\":");
      out.base64_or_null(option->data);
      out.text("},");
    }
    out.drop_last();
    out.text("]");
  } else {
    out.text("null");
  }
  out.text(",\"Padding\":");
  out.base64_or_null(options.padding());
}

void write_transport(Writer& out, const Tcp& tcp) noexcept {
  out.text("\"tcp\",\"tcp\":{\"src\":");
  out.number(tcp.source_port);
  out.text(",\"dst\":");
  out.number(tcp.destination_port);
  out.text(",\"seq\":");
  out.number(tcp.sequence);
  out.text(",\"ack\":");
  out.number(tcp.acknowledgment);
  out.text(",\"data_offset\":");
  out.number(tcp.data_offset);
  write_flags(out, tcp.flags);
  out.text(",\"window\":");
  out.number(tcp.window);
  out.text(",\"checksum\":");
  out.number(tcp.checksum);
  out.text(",\"urgent\":");
  out.number(tcp.urgent);
  out.text(",\"payload\":");
  out.base64(tcp.payload);
  write_options(out, tcp.options);
  out.text("},\"udp\":null}");
}

void write_transport(Writer& out, const Udp& udp) noexcept {
  out.text("\"udp\",\"tcp\":null,\"udp\":{\"src\":");
  out.number(udp.source_port);
  out.text(",\"dst\":");
  out.number(udp.destination_port);
  out.text(",\"length\":");
  out.number(udp.length);
  out.text(",\"checksum\":");
  out.number(udp.checksum);
  out.text(",\"payload\":");
  out.base64(udp.payload);
  out.text("}}");
}

std::size_t transport_bound(const Tcp& tcp) noexcept {
  // In place of `null`: brackets, and no comma behind the last.
  const std::size_t options =
      tcp.options.empty() ? 0 : tcp.options.size() * kLongestOption.size() + 1 - kNull.size();
  return kLongestTcp.size() + base64_size(tcp.payload.size()) + options;
}

std::size_t transport_bound(const Udp& udp) noexcept {
  return kLongestUdp.size() + base64_size(udp.payload.size());
}

std::size_t transport_bound(const std::variant<Tcp, Udp>& transport) noexcept {
  if (const Tcp* const tcp = std::get_if<Tcp>(&transport)) return transport_bound(*tcp);
  return transport_bound(*std::get_if<Udp>(&transport));
}

}  // namespace

std::size_t packet_event_bound(const Packet& packet) noexcept {
  return kLongestBeginning.size() + 2 * address_bound(packet.source.size()) +
         transport_bound(packet.transport) + kEnd.size();
}

std::size_t write_packet_event(std::span<char> out, std::uint64_t id,
                               const Packet& packet) noexcept {
  assert(out.size() >= packet_event_bound(packet));
  Writer writer(out);
  writer.text("id: ");
  writer.number(id);
  writer.text("\nevent: packet\ndata: {\"timestamp\":");
  writer.number(packet.timestamp_ns / 1'000'000);
  writer.text(",\"packet_size\":");
  writer.number(packet.original_length);
  writer.text(",\"src_ip\":");
  writer.address(packet.source);
  writer.text(",\"dst_ip\":");
  writer.address(packet.destination);
  writer.text(",\"proto\":");
  if (const Tcp* const tcp = std::get_if<Tcp>(&packet.transport))
    write_transport(writer, *tcp);
  else
    write_transport(writer, *std::get_if<Udp>(&packet.transport));
  writer.text("\n\n");
  return static_cast<std::size_t>(writer.at() - out.data());
}

void append_error_event(std::string& out, std::string_view text) {
  out += "event: error\n";
  while (true) {
    const std::size_t end = text.find_first_of("\r\n");
    fmt::format_to(std::back_inserter(out), "data: {}\n", printable(text.substr(0, end)));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + (text.substr(end, 2) == "\r\n" ? 2 : 1));
  }
  out += '\n';
}

void append_drops_event(std::string& out, const Drops& drops) {
  fmt::format_to(std::back_inserter(out), "event: drops\ndata: {{\"kernel\":{},\"queue\":{}}}\n\n",
                 drops.kernel, drops.queue);
}

void append_close_event(std::string& out) { out += "event: close\ndata: stop capture\n\n"; }

void append_heartbeat(std::string& out) { out += ": heartbeat\n\n"; }

}  // namespace serverd::packets
