#include "worker/packets/capture_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include <arpa/inet.h>

namespace serverd::packets {
namespace {

constexpr int kEthernet = 1;  ///< DLT_EN10MB, which libpcap knows VLAN tags on

/// Hop-by-hop, routing, fragment, authentication, destination options, mobility: pcap-filter(7)'s
/// `tcp` and `port` do not look behind them (but `tcp` behind a fragment header), and what does,
/// `protochain`, the kernel cannot run.
constexpr std::string_view kBehindExtensions =
    "(ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 51 or ip6[6] = 60 or ip6[6] = 135)";

/// Words that make everything behind them look into an encapsulation.
constexpr std::array<std::string_view, 5> kEncapsulations = {"vlan", "mpls", "pppoed", "pppoes",
                                                             "geneve"};

std::string address_text(const Address& address) {
  char text[INET6_ADDRSTRLEN];
  return ::inet_ntop(address.is_v6 ? AF_INET6 : AF_INET, address.bytes.data(), text, sizeof text);
}

/// `direction` is "", "src " or "dst ".
void add_host(std::vector<std::string>& parts, std::string_view direction,
              const std::optional<Address>& host) {
  if (!host) return;
  parts.push_back(
      fmt::format("{} {}host {}", host->is_v6 ? "ip6" : "ip", direction, address_text(*host)));
}

std::string_view protocols(const std::optional<Transport>& transport) noexcept {
  if (!transport) return "(tcp or udp)";
  return *transport == Transport::kTcp ? "tcp" : "udp";
}

/// Of the transport header; `direction` is "", "src " or "dst ".
void add_port(std::vector<std::string>& parts, const std::optional<Transport>& transport,
              std::string_view direction, const std::optional<std::uint16_t>& port) {
  if (!port) return;
  if (transport)
    parts.push_back(fmt::format("{} {}port {}", protocols(transport), direction, *port));
  else
    parts.push_back(fmt::format("(tcp {0}port {1} or udp {0}port {1})", direction, *port));
}

bool asks_for_ports(const CaptureRequest& request) noexcept {
  return request.port || request.source_port || request.destination_port;
}

/// Transport and ports, as far as they are asked for. Empty: every frame.
std::string transport_filter(const CaptureRequest& request) {
  std::vector<std::string> parts;
  add_port(parts, request.transport, "", request.port);
  add_port(parts, request.transport, "src ", request.source_port);
  add_port(parts, request.transport, "dst ", request.destination_port);
  if (parts.empty()) {
    if (!request.transport && request.format == CaptureRequest::Format::kPcapng) return "";
    parts.emplace_back(protocols(request.transport));
  }
  return fmt::format("({} or {})", fmt::join(parts, " and "), kBehindExtensions);
}

bool looks_into_encapsulation(std::string_view bpf) noexcept {
  return std::any_of(kEncapsulations.begin(), kEncapsulations.end(), [&](std::string_view word) {
    return bpf.find(word) != std::string_view::npos;
  });
}

/// `vlan` moves the offsets of all that follows it, so that each form comes after the plainer one.
std::string with_vlans(const std::string& filter) {
  return fmt::format("({0}) or (vlan and (({0}) or (vlan and ({0}))))", filter);
}

bool holds_host(const CaptureRequest& request, const Packet& packet) noexcept {
  const auto is = [](const Address& address, wire::Bytes bytes) {
    const wire::Bytes wanted = address.view();
    return std::equal(wanted.begin(), wanted.end(), bytes.begin(), bytes.end());
  };
  if (request.host && !is(*request.host, packet.source) && !is(*request.host, packet.destination))
    return false;
  if (request.source_host && !is(*request.source_host, packet.source)) return false;
  return !request.destination_host || is(*request.destination_host, packet.destination);
}

bool holds_ports(const CaptureRequest& request, std::uint16_t source,
                 std::uint16_t destination) noexcept {
  if (request.port && *request.port != source && *request.port != destination) return false;
  if (request.source_port && *request.source_port != source) return false;
  return !request.destination_port || *request.destination_port == destination;
}

bool holds_transport(const CaptureRequest& request, std::uint16_t own_port,
                     const Tcp& tcp) noexcept {
  if (request.transport && *request.transport != Transport::kTcp) return false;
  if (!request.self && (tcp.source_port == own_port || tcp.destination_port == own_port))
    return false;
  return holds_ports(request, tcp.source_port, tcp.destination_port);
}

bool holds_transport(const CaptureRequest& request, const Udp& udp) noexcept {
  if (request.transport && *request.transport != Transport::kUdp) return false;
  return holds_ports(request, udp.source_port, udp.destination_port);
}

}  // namespace

std::string capture_filter(const CaptureRequest& request, int link_type, std::uint16_t own_port) {
  std::vector<std::string> parts;
  add_host(parts, "", request.host);
  add_host(parts, "src ", request.source_host);
  add_host(parts, "dst ", request.destination_host);
  const std::string transport = transport_filter(request);
  if (!transport.empty()) parts.push_back(transport);
  if (!request.self) parts.push_back(fmt::format("not tcp port {}", own_port));
  // Last, since it may move the offsets of what would follow.
  if (!request.bpf.empty()) parts.push_back(fmt::format("({})", request.bpf));
  std::string filter = fmt::format("{}", fmt::join(parts, " and "));
  if (filter.empty() || link_type != kEthernet || looks_into_encapsulation(request.bpf))
    return filter;
  return with_vlans(filter);
}

bool matches(const CaptureRequest& request, std::uint16_t own_port,
             const Decoded& decoded) noexcept {
  if (decoded.outcome != Outcome::kPacket)
    return request.format == CaptureRequest::Format::kPcapng && !request.transport &&
           !asks_for_ports(request);
  const Packet& packet = decoded.packet;
  if (!holds_host(request, packet)) return false;
  if (const Tcp* const tcp = std::get_if<Tcp>(&packet.transport))
    return holds_transport(request, own_port, *tcp);
  return holds_transport(request, *std::get_if<Udp>(&packet.transport));
}

}  // namespace serverd::packets
