// Encoding a packet to its event, beside the same by Boost.JSON's values.

#include "tests/support/packets.h"
#include "worker/packets/base64.h"
#include "worker/packets/event_writer.h"
#include "worker/packets/tcp_options.h"

#include <benchmark/benchmark.h>
#include <boost/json/src.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include <arpa/inet.h>

namespace serverd::packets {
namespace {

namespace json = boost::json;

/// What most segments look like: no-operations and a timestamp.
test::Buffer frame_of(std::size_t payload) {
  return test::ethernet(test::ipv4(
      test::Segment{.sequence = 0x12345678,
                    .payload = std::string(payload, 'x'),
                    .acknowledged = 0x87654321,
                    .options = {1, 1, 8, 10, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0}}));
}

Packet packet_of(const test::Buffer& frame) {
  return decode(
             Frame{1, 1'700'000'000'123'456'789, static_cast<std::uint32_t>(frame.size()), frame})
      .packet;
}

json::string base64(wire::Bytes bytes) {
  json::string text(base64_size(bytes.size()), '\0');
  write_base64(text.data(), bytes);
  return text;
}

json::string address(wire::Bytes bytes) {
  char text[INET6_ADDRSTRLEN];
  return ::inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
}

json::value options_of(wire::Bytes bytes) {
  TcpOptions options(bytes);
  json::array all;
  while (const auto option = options.next()) {
    json::value data;
    if (option->data) data = base64(*option->data);
    all.push_back({{"type", option->type}, {"length", option->length}, {"data", data}});
  }
  if (all.empty()) return nullptr;
  return all;
}

json::object tcp_of(const Tcp& tcp) {
  json::object object;
  object.reserve(20);
  object["src"] = tcp.source_port;
  object["dst"] = tcp.destination_port;
  object["seq"] = tcp.sequence;
  object["ack"] = tcp.acknowledgment;
  object["data_offset"] = tcp.data_offset;
  object["FIN"] = (tcp.flags & Tcp::kFin) != 0;
  object["SYN"] = (tcp.flags & Tcp::kSyn) != 0;
  object["RST"] = (tcp.flags & Tcp::kRst) != 0;
  object["PSH"] = (tcp.flags & Tcp::kPsh) != 0;
  object["ACK"] = (tcp.flags & Tcp::kAck) != 0;
  object["URG"] = (tcp.flags & Tcp::kUrg) != 0;
  object["ECE"] = (tcp.flags & Tcp::kEce) != 0;
  object["CWR"] = (tcp.flags & Tcp::kCwr) != 0;
  object["NS"] = (tcp.flags & Tcp::kNs) != 0;
  object["window"] = tcp.window;
  object["checksum"] = tcp.checksum;
  object["urgent"] = tcp.urgent;
  object["payload"] = base64(tcp.payload);
  object["options"] = options_of(tcp.options);
  object["Padding"] = nullptr;
  return object;
}

/// The same bytes as write_packet_event(), for TCP.
std::string event_by_values(std::uint64_t id, const Packet& packet) {
  json::object object;
  object.reserve(7);
  object["timestamp"] = packet.timestamp_ns / 1'000'000;
  object["packet_size"] = packet.original_length;
  object["src_ip"] = address(packet.source);
  object["dst_ip"] = address(packet.destination);
  object["proto"] = "tcp";
  object["tcp"] = tcp_of(std::get<Tcp>(packet.transport));
  object["udp"] = nullptr;
  return "id: " + std::to_string(id) + "\nevent: packet\ndata: " + json::serialize(object) + "\n\n";
}

void packet_event(benchmark::State& state) {
  const test::Buffer frame = frame_of(static_cast<std::size_t>(state.range(0)));
  const Packet packet = packet_of(frame);
  std::vector<char> room(packet_event_bound(packet));
  std::uint64_t id = 1'000'000;
  for (auto _ : state) {
    benchmark::DoNotOptimize(packet_event_bound(packet));
    benchmark::DoNotOptimize(write_packet_event(room, ++id, packet));
    benchmark::ClobberMemory();
  }
  const std::size_t size = write_packet_event(room, id, packet);
  if (std::string(room.data(), size) != event_by_values(id, packet))
    state.SkipWithError("the two do not write the same");
}
BENCHMARK(packet_event)->ArgName("payload")->Arg(64)->Arg(1'400);

void packet_event_by_values(benchmark::State& state) {
  const test::Buffer frame = frame_of(static_cast<std::size_t>(state.range(0)));
  const Packet packet = packet_of(frame);
  std::uint64_t id = 1'000'000;
  for (auto _ : state) {
    const std::string event = event_by_values(++id, packet);
    benchmark::DoNotOptimize(event.data());
  }
}
BENCHMARK(packet_event_by_values)->ArgName("payload")->Arg(64)->Arg(1'400);

void packet_decode(benchmark::State& state) {
  const test::Buffer frame = frame_of(64);
  for (auto _ : state) benchmark::DoNotOptimize(packet_of(frame));
}
BENCHMARK(packet_decode);

}  // namespace
}  // namespace serverd::packets
