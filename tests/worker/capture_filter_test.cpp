// What the filters mean is what libpcap makes of them: each is compiled and run over frames.

#include "worker/packets/capture_filter.h"

#include "tests/support/packets.h"

#include <gtest/gtest.h>
#include <pcap/pcap.h>

#include <memory>
#include <string>
#include <vector>

namespace serverd::packets {
namespace {

using namespace test;

constexpr std::uint16_t kOwnPort = 8080;

/// A filter as the kernel would run it; empty and a failure if libpcap refuses it.
class Compiled final {
 public:
  explicit Compiled(const std::string& filter, int link_type = DLT_EN10MB) {
    const std::unique_ptr<pcap_t, void (*)(pcap_t*)> handle(pcap_open_dead(link_type, 65535),
                                                            &pcap_close);
    if (pcap_compile(handle.get(), &program_, filter.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0)
      ADD_FAILURE() << filter << ": " << pcap_geterr(handle.get());
  }
  ~Compiled() { pcap_freecode(&program_); }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  bool passes(const Buffer& frame) const {
    pcap_pkthdr header{};
    header.caplen = header.len = static_cast<bpf_u_int32>(frame.size());
    return pcap_offline_filter(&program_, &header, frame.data()) != 0;
  }
  unsigned instructions() const { return program_.bf_len; }

 private:
  bpf_program program_{};
};

CaptureRequest request_of(const std::string& query) {
  auto parsed = parse_capture_request("i=lo&" + query);
  if (const auto* bad = std::get_if<BadRequest>(&parsed)) ADD_FAILURE() << query << bad->text;
  return std::get<CaptureRequest>(parsed);
}

Buffer v4(std::uint16_t source, std::uint16_t destination, bool is_udp = false,
          std::uint8_t from = 5, std::uint8_t to = 9) {
  if (is_udp) return ipv4(from, to, udp(source, destination, "x"), 0, 17);
  return ipv4(from, to, tcp({.source_port = source, .destination_port = destination}));
}

Buffer v6(std::uint16_t source, std::uint16_t destination, bool is_udp = false,
          std::uint8_t from = 5, std::uint8_t to = 9) {
  if (is_udp) return ipv6(from, to, udp(source, destination, "x"), 17);
  return ipv6(from, to, tcp({.source_port = source, .destination_port = destination}));
}

/// Hop-by-hop options before TCP.
Buffer v6_extended(std::uint16_t source, std::uint16_t destination) {
  return ipv6(5, 9,
              join({{6, 0, 1, 4, 0, 0, 0, 0},
                    tcp({.source_port = source, .destination_port = destination})}),
              0);
}

unsigned type_of(const Buffer& packet) { return packet[0] >> 4 == 4 ? 0x0800 : 0x86dd; }

/// The packet without a tag, in one, and in two.
std::vector<Buffer> tagged(const Buffer& packet) {
  const Buffer type = u16(type_of(packet));
  return {ethernet(packet, type_of(packet)), ethernet(join({u16(5), type, packet}), 0x8100),
          ethernet(join({u16(7), u16(0x8100), u16(5), type, packet}), 0x88a8)};
}

std::vector<Buffer> sample_packets() {
  std::vector<Buffer> packets;
  for (const bool is_udp : {false, true})
    for (const auto& [source, destination] : std::vector<std::pair<std::uint16_t, std::uint16_t>>{
             {80, 4000}, {4000, 80}, {80, 80}, {8080, 80}, {80, 8080}, {1, 2}}) {
      packets.push_back(v4(source, destination, is_udp));
      packets.push_back(v4(source, destination, is_udp, 9, 5));
      packets.push_back(v6(source, destination, is_udp));
      packets.push_back(v6(source, destination, is_udp, 9, 5));
    }
  packets.push_back(v6_extended(80, 4000));
  packets.push_back(v6_extended(8080, 4000));
  packets.push_back(ipv4(5, 9, Buffer(20), 0, 1));
  packets.push_back(ipv6(5, 9, Buffer(20), 58));
  return packets;
}

Decoded decode_ethernet(const Buffer& bytes) {
  return decode(Frame{DLT_EN10MB, 0, static_cast<std::uint32_t>(bytes.size()), bytes});
}

bool delivered(const CaptureRequest& request, const Compiled& filter, const Buffer& bytes) {
  return filter.passes(bytes) && matches(request, kOwnPort, decode_ethernet(bytes));
}

/// Whether a client with this request gets this packet, the same in every number of VLAN tags.
bool gets(const std::string& query, const Buffer& packet) {
  const CaptureRequest request = request_of(query);
  const Compiled filter(capture_filter(request, DLT_EN10MB, kOwnPort));
  const std::vector<Buffer> frames = tagged(packet);
  const bool result = delivered(request, filter, frames[0]);
  for (const Buffer& frame : frames)
    EXPECT_EQ(delivered(request, filter, frame), result) << query << ", " << frame.size();
  return result;
}

TEST(CaptureFilter, WithoutParametersTakesTcpAndUdp) {
  for (const Buffer& packet : {v4(1, 2), v4(1, 2, true), v6(1, 2), v6(1, 2, true)})
    EXPECT_TRUE(gets("", packet));
  EXPECT_TRUE(gets("", v6_extended(1, 2)));
  EXPECT_FALSE(gets("", ipv4(5, 9, Buffer(20), 0, 1)));
  EXPECT_FALSE(gets("", ipv6(5, 9, Buffer(20), 58)));
}

TEST(CaptureFilter, TakesOneTransport) {
  for (const char* const query : {"p=tcp", "tcp=true"}) {
    EXPECT_TRUE(gets(query, v4(1, 2)));
    EXPECT_TRUE(gets(query, v6(1, 2)));
    EXPECT_TRUE(gets(query, v6_extended(1, 2)));
    EXPECT_FALSE(gets(query, v4(1, 2, true)));
    EXPECT_FALSE(gets(query, v6(1, 2, true)));
  }
  for (const char* const query : {"p=udp", "udp=true"}) {
    EXPECT_TRUE(gets(query, v4(1, 2, true)));
    EXPECT_TRUE(gets(query, v6(1, 2, true)));
    EXPECT_FALSE(gets(query, v4(1, 2)));
    EXPECT_FALSE(gets(query, v6_extended(1, 2)));
  }
}

TEST(CaptureFilter, TakesPortsByDirection) {
  for (const bool is_udp : {false, true})
    for (const auto& make : {v4, v6}) {
      const Buffer from = make(80, 4000, is_udp, 5, 9);
      const Buffer to = make(4000, 80, is_udp, 5, 9);
      EXPECT_TRUE(gets("p=80", from) && gets("p=80", to));
      EXPECT_FALSE(gets("p=81", from) || gets("p=81", to));
      EXPECT_TRUE(gets("p.src=80", from) && gets("p.dst=80", to));
      EXPECT_FALSE(gets("p.src=80", to) || gets("p.dst=80", from));
      EXPECT_TRUE(gets("p.src=80&p.dst=4000", from) && gets("p=80&p.src=4000", to));
      EXPECT_FALSE(gets("p.src=80&p.dst=4001", from) || gets("p=80&p.dst=1", to));
      EXPECT_EQ(gets("p=80&tcp=true", from), !is_udp);
      EXPECT_EQ(gets("p=udp&p.src=80", from), is_udp);
    }
  EXPECT_TRUE(gets("p=80", v6_extended(80, 1)) && gets("p.dst=1&p=tcp", v6_extended(80, 1)));
  EXPECT_FALSE(gets("p=81", v6_extended(80, 1)) || gets("p.dst=80", v6_extended(80, 1)));
}

TEST(CaptureFilter, TakesHostsByDirection) {
  for (const bool is_v6 : {false, true}) {
    const std::string five = is_v6 ? "fd00::5" : "10.0.0.5";
    const std::string nine = is_v6 ? "fd00::9" : "10.0.0.9";
    const auto make = is_v6 ? v6 : v4;
    const Buffer there = make(1, 2, false, 5, 9);
    const Buffer back = make(2, 1, false, 9, 5);
    const Buffer other = make(1, 2, false, 6, 9);
    EXPECT_TRUE(gets("h=" + five, there) && gets("h=" + five, back));
    EXPECT_FALSE(gets("h=" + five, other));
    EXPECT_TRUE(gets("h.src=" + five, there) && gets("h.dst=" + five, back));
    EXPECT_FALSE(gets("h.src=" + five, back) || gets("h.dst=" + five, there));
    EXPECT_TRUE(gets("h.src=" + five + "&h.dst=" + nine, there));
    EXPECT_FALSE(gets("h.src=" + five + "&h.dst=" + nine, back));
    EXPECT_TRUE(gets("h.src=" + five + "&h=10.9.9.9", there)) << "h.src over h";
    EXPECT_FALSE(gets(is_v6 ? "h=10.0.0.5" : "h=fd00::5", there));
  }
}

TEST(CaptureFilter, CombinesHostTransportAndPort) {
  const std::string query = "h.src=10.0.0.5&h.dst=10.0.0.9&tcp=true&p.src=80&p.dst=4000";
  EXPECT_TRUE(gets(query, v4(80, 4000)));
  EXPECT_FALSE(gets(query, v4(80, 4000, true)));
  EXPECT_FALSE(gets(query, v4(80, 4000, false, 9, 5)));
  EXPECT_FALSE(gets(query, v4(4000, 80)));
  EXPECT_FALSE(gets(query, v6(80, 4000)));
}

TEST(CaptureFilter, LeavesTheServersOwnPortOut) {
  for (const Buffer& packet : {v4(kOwnPort, 1), v4(1, kOwnPort), v6(kOwnPort, 1), v6(1, kOwnPort),
                               v6_extended(kOwnPort, 1), v6_extended(1, kOwnPort)}) {
    EXPECT_FALSE(gets("", packet));
    EXPECT_FALSE(gets("p=8080", packet));
    EXPECT_FALSE(gets("format=pcapng", packet));
    EXPECT_FALSE(gets("bpf=tcp or ip6", packet));
    EXPECT_TRUE(gets("self=1", packet));
    EXPECT_TRUE(gets("self=1&p=8080", packet));
  }
  EXPECT_TRUE(gets("", v4(kOwnPort, 1, true))) << "UDP is not the server's";
}

TEST(CaptureFilter, AddsTheClientsFilter) {
  EXPECT_TRUE(gets("bpf=port 80", v4(80, 4000)) && gets("bpf=port 80", v6(80, 4000)));
  EXPECT_FALSE(gets("bpf=port 80", v4(1, 2)));
  EXPECT_TRUE(gets("bpf=port 80 or port 1&p=tcp", v4(1, 2)));
  EXPECT_FALSE(gets("bpf=port 80 or port 1&p=udp", v4(1, 2))) << "in parentheses";
  EXPECT_FALSE(gets("bpf=icmp or tcp", ipv4(5, 9, Buffer(20), 0, 1))) << "TCP and UDP are events";
}

/// As the text of a 400: libpcap sees that nothing can pass.
TEST(CaptureFilter, IsRefusedByLibpcapWhereItContradictsItself) {
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> handle(pcap_open_dead(DLT_EN10MB, 65535),
                                                          &pcap_close);
  for (const std::string query : {"bpf=icmp", "bpf=arp&p=tcp", "h=10.0.0.5&bpf=ip6"}) {
    bpf_program program{};
    const std::string filter = capture_filter(request_of(query), DLT_EN10MB, kOwnPort);
    EXPECT_NE(pcap_compile(handle.get(), &program, filter.c_str(), 1, PCAP_NETMASK_UNKNOWN), 0)
        << query;
    EXPECT_STREQ(pcap_geterr(handle.get()), "expression rejects all packets");
  }
}

TEST(CaptureFilter, LetsTheClientsFilterAskAboutVlans) {
  const CaptureRequest request = request_of("bpf=vlan 5&p=tcp");
  const std::string text = capture_filter(request, DLT_EN10MB, kOwnPort);
  EXPECT_EQ(text.find("vlan"), text.rfind("vlan")) << text;
}

TEST(CaptureFilter, TakesEverythingForAFileUnlessAsked) {
  const Buffer icmp = ipv4(5, 9, Buffer(20), 0, 1);
  EXPECT_TRUE(gets("format=pcapng", icmp));
  EXPECT_TRUE(gets("format=pcapng&bpf=icmp", icmp));
  EXPECT_TRUE(gets("format=pcapng&h=10.0.0.5", icmp));
  EXPECT_FALSE(gets("format=pcapng&h=10.0.0.6", icmp));
  EXPECT_FALSE(gets("format=pcapng&p=tcp", icmp) || gets("format=pcapng&p=80", icmp));
  EXPECT_EQ(capture_filter(request_of("format=pcapng&self=1"), DLT_EN10MB, kOwnPort), "");
  EXPECT_TRUE(gets("format=pcapng&self=1", icmp));
}

/// The kernel does the work: what only the check behind it keeps back is rare.
TEST(CaptureFilter, PassesWhatMatchesAndOnlyExtensionHeadersBesides) {
  for (const std::string query :
       {"", "p=tcp", "p=udp", "p=80", "p.src=80", "p.dst=80", "p.src=80&p.dst=4000&tcp=true",
        "h=10.0.0.5", "h=fd00::9", "h.src=10.0.0.5", "h.dst=fd00::5", "h.src=fd00::5&h.dst=fd00::9",
        "h=10.0.0.9&p=udp&p.dst=80", "h=fd00::5&p=80", "self=1", "self=1&p=8080"}) {
    const CaptureRequest request = request_of(query);
    const Compiled filter(capture_filter(request, DLT_EN10MB, kOwnPort));
    EXPECT_LT(filter.instructions(), 4096U) << "what the kernel takes";
    for (const Buffer& packet : sample_packets())
      for (const Buffer& frame : tagged(packet)) {
        const bool extended = type_of(packet) == 0x86dd && packet[6] == 0;
        const bool wanted = matches(request, kOwnPort, decode_ethernet(frame));
        if (!wanted && extended) continue;
        EXPECT_EQ(filter.passes(frame), wanted) << query;
      }
  }
}

TEST(CaptureFilter, CompilesForEveryLinkType) {
  for (const int link_type :
       {DLT_EN10MB, DLT_LINUX_SLL, DLT_LINUX_SLL2, DLT_RAW, DLT_NULL, DLT_LOOP})
    for (const std::string query : {"", "h=10.0.0.5&p=80", "h.src=fd00::5&udp=true&p.dst=9",
                                    "bpf=port 80&p=tcp", "format=pcapng&h=10.0.0.5"}) {
      const CaptureRequest request = request_of(query);
      const Compiled compiled(capture_filter(request, link_type, kOwnPort), link_type);
      EXPECT_GT(compiled.instructions(), 0U);
    }
}

}  // namespace
}  // namespace serverd::packets
