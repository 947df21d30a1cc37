#include "worker/packets/event_writer.h"
#include "worker/packets/pcapng.h"

#include <boost/json/src.hpp>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <vector>

/// Whatever passes on an interface: no frame of any link type makes the decoder read beyond it or
/// the writer leave its room, and every event is one line of JSON that says what was decoded.
///
/// Input: a byte that chooses the link type, a byte for what the snap length cut off, the frame.
namespace {

using namespace serverd;
using namespace serverd::packets;
namespace json = boost::json;

void fail(std::string_view what, std::string_view text = {}) {
  std::cerr << what << ": " << text << '\n';
  std::abort();
}

void check_base64(const json::value& value, wire::Bytes bytes) {
  if (value.as_string().size() != (bytes.size() + 2) / 3 * 4) fail("base64", value.as_string());
}

void check_tcp(const json::object& event, const Tcp& tcp) {
  const json::object& said = event.at("tcp").as_object();
  if (!event.at("udp").is_null() || said.size() != 20) fail("not TCP", json::serialize(event));
  if (said.at("src") != tcp.source_port || said.at("dst") != tcp.destination_port ||
      said.at("seq") != tcp.sequence || said.at("window") != tcp.window)
    fail("TCP fields", json::serialize(said));
  check_base64(said.at("payload"), tcp.payload);
  if (said.at("options").is_null()) return;
  std::int64_t length = 0;
  for (const json::value& option : said.at("options").as_array())
    length += option.at("length").as_int64();
  if (static_cast<std::size_t>(length) > tcp.options.size()) fail("options", json::serialize(said));
}

void check_udp(const json::object& event, const Udp& udp) {
  const json::object& said = event.at("udp").as_object();
  if (!event.at("tcp").is_null() || said.size() != 5) fail("not UDP", json::serialize(event));
  if (said.at("src") != udp.source_port || said.at("length") != udp.length)
    fail("UDP fields", json::serialize(said));
  check_base64(said.at("payload"), udp.payload);
}

void check_event(std::string_view event, const Packet& packet) {
  constexpr std::string_view kBegin = "id: 18446744073709551615\nevent: packet\ndata: ";
  if (!event.starts_with(kBegin) || !event.ends_with("\n\n")) fail("frame of the event", event);
  event.remove_prefix(kBegin.size());
  event.remove_suffix(2);
  if (event.find('\n') != event.npos) fail("more than a line", event);
  const json::value parsed = json::parse({event.data(), event.size()});
  const json::object& said = parsed.as_object();
  if (said.size() != 7 || said.at("packet_size") != packet.original_length) fail("fields", event);
  if (const Tcp* const tcp = std::get_if<Tcp>(&packet.transport))
    check_tcp(said, *tcp);
  else
    check_udp(said, std::get<Udp>(packet.transport));
}

/// DLT values of every link type that we strip, and one that we do not.
constexpr std::array<int, 11> kLinkTypes = {1, 113, 276, 12, 14, 101, 228, 229, 0, 108, 105};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size < 2) return 0;
  const std::vector<std::uint8_t> bytes(data + 2, data + size);
  const Frame frame{kLinkTypes[data[0] % kLinkTypes.size()], ~std::uint64_t{0} - data[0],
                    static_cast<std::uint32_t>(bytes.size() + data[1]), bytes};
  std::vector<char> block(pcapng::packet_size(frame));
  if (pcapng::write_packet(block, frame) != block.size()) fail("size of a block");
  const Decoded decoded = decode(frame);
  if (decoded.outcome != Outcome::kPacket) return 0;
  std::vector<char> room(packet_event_bound(decoded.packet));
  const std::size_t written = write_packet_event(room, ~std::uint64_t{0}, decoded.packet);
  if (written > room.size()) fail("bound");
  check_event({room.data(), written}, decoded.packet);
  return 0;
}
