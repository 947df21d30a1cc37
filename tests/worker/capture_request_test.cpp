#include "worker/packets/capture_request.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace serverd::packets {
namespace {

CaptureRequest request_of(std::string_view query) {
  auto parsed = parse_capture_request(query);
  if (const auto* bad = std::get_if<BadRequest>(&parsed)) {
    ADD_FAILURE() << query << ": " << bad->text;
    return {};
  }
  return std::get<CaptureRequest>(parsed);
}

std::string refusal_of(std::string_view query) {
  const auto parsed = parse_capture_request(query);
  const auto* bad = std::get_if<BadRequest>(&parsed);
  return bad == nullptr ? "accepted" : bad->text;
}

Address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
  return {{a, b, c, d}, false};
}

TEST(CaptureRequest, NeedsAnInterfaceOnly) {
  const CaptureRequest request = request_of("i=eth0");
  EXPECT_EQ(request.interface, "eth0");
  EXPECT_FALSE(request.transport || request.host || request.source_host ||
               request.destination_host || request.port || request.source_port ||
               request.destination_port || request.snap_length || request.count);
  EXPECT_EQ(request.bpf, "");
  EXPECT_FALSE(request.self);
  EXPECT_EQ(request.format, CaptureRequest::Format::kEvents);
  for (const char* const query : {"", "i=", "i", "&&", "p=tcp", "=", "i=&p="})
    EXPECT_EQ(refusal_of(query), "interface required") << query;
}

TEST(CaptureRequest, TakesPAsTransportOrPort) {
  EXPECT_EQ(request_of("i=lo&p=tcp").transport, Transport::kTcp);
  EXPECT_EQ(request_of("i=lo&p=udp").transport, Transport::kUdp);
  EXPECT_FALSE(request_of("i=lo&p=tcp").port);
  EXPECT_EQ(request_of("i=lo&p=443").port, 443);
  EXPECT_EQ(request_of("i=lo&p=0").port, 0);
  EXPECT_EQ(request_of("i=lo&p=65535").port, 65535);
  EXPECT_FALSE(request_of("i=lo&p=443").transport);
  EXPECT_EQ(refusal_of("i=lo&p=65536"), "p: \"65536\" is out of range (0 to 65535)");
  EXPECT_EQ(refusal_of("i=lo&p=99999999999999999999"),
            "p: \"99999999999999999999\" is out of range (0 to 65535)");
  for (const char* const bad : {"icmp", "TCP", "80x", "-1", "+80", "0x50", "80.5"})
    EXPECT_EQ(refusal_of(std::string("i=lo&p=") + (bad[0] == '+' ? "%2B80" : bad)),
              std::string("p: \"") + bad + "\" is neither tcp nor udp nor a port (0 to 65535)");
}

TEST(CaptureRequest, TakesTheNewerSpellingOfTransports) {
  EXPECT_EQ(request_of("i=lo&tcp=true").transport, Transport::kTcp);
  EXPECT_EQ(request_of("i=lo&udp=true").transport, Transport::kUdp);
  EXPECT_EQ(request_of("i=lo&tcp=1&udp=0").transport, Transport::kTcp);
  EXPECT_FALSE(request_of("i=lo&tcp=true&udp=true").transport) << "either";
  EXPECT_FALSE(request_of("i=lo&tcp=false&udp=false").transport);
  EXPECT_EQ(request_of("i=lo&tcp=true&p=tcp").transport, Transport::kTcp);
  const CaptureRequest both = request_of("i=lo&p=53&udp=true");
  EXPECT_EQ(both.port, 53);
  EXPECT_EQ(both.transport, Transport::kUdp);
  EXPECT_EQ(refusal_of("i=lo&tcp=yes"), "tcp: \"yes\" is neither true nor false");
}

TEST(CaptureRequest, RefusesContradictions) {
  EXPECT_EQ(refusal_of("i=lo&p=tcp&udp=true"), "p=tcp and udp=true contradict each other");
  EXPECT_EQ(refusal_of("i=lo&p=udp&tcp=true"), "p=udp and tcp=true contradict each other");
  EXPECT_EQ(refusal_of("i=lo&p=udp&p=tcp"), "p: given more than once");
  EXPECT_EQ(refusal_of("i=lo&i=lo"), "i: given more than once");
  EXPECT_EQ(refusal_of("i=lo&h.src=10.0.0.1&h.dst=::1"),
            "h.src and h.dst contradict each other: no packet is both IPv4 and IPv6");
}

TEST(CaptureRequest, TakesAddressesOfBothFamilies) {
  EXPECT_EQ(request_of("i=lo&h=10.0.0.1").host, v4(10, 0, 0, 1));
  EXPECT_EQ(request_of("i=lo&h.src=10.0.0.1").source_host, v4(10, 0, 0, 1));
  EXPECT_EQ(request_of("i=lo&h.dst=10.0.0.1").destination_host, v4(10, 0, 0, 1));
  Address loopback;
  loopback.is_v6 = true;
  loopback.bytes[15] = 1;
  EXPECT_EQ(request_of("i=lo&h=::1").host, loopback);
  EXPECT_EQ(request_of("i=lo&h=%3a%3A1").host, loopback);
  for (const char* const name : {"h", "h.src", "h.dst"})
    for (const char* const bad : {"localhost", "10.0.0", "10.0.0.256", "::1::", "fe80::1%eth0"}) {
      const std::string escaped =
          std::string(bad) == "fe80::1%eth0" ? "fe80::1%25eth0" : std::string(bad);
      EXPECT_EQ(refusal_of("i=lo&" + std::string(name) + "=" + escaped),
                std::string(name) + ": \"" + bad + "\" is not an IPv4 or IPv6 address");
    }
}

TEST(CaptureRequest, PrefersDirectionsToBothWays) {
  for (const char* const query :
       {"i=lo&h=10.0.0.1&h.src=10.0.0.2", "i=lo&h=10.0.0.1&h.dst=10.0.0.2",
        "i=lo&h.src=10.0.0.2&h.dst=10.0.0.3&h=10.0.0.1"})
    EXPECT_FALSE(request_of(query).host) << query;
  const CaptureRequest hosts = request_of("i=lo&h.src=10.0.0.2&h.dst=10.0.0.3");
  EXPECT_EQ(hosts.source_host, v4(10, 0, 0, 2));
  EXPECT_EQ(hosts.destination_host, v4(10, 0, 0, 3));
  for (const char* const query : {"i=lo&p=80&p.src=1", "i=lo&p=80&p.dst=1", "i=lo&p.src=1&p.dst=2"})
    EXPECT_FALSE(request_of(query).port) << query;
  const CaptureRequest ports = request_of("i=lo&p.src=1&p.dst=2&p=tcp");
  EXPECT_EQ(ports.source_port, 1);
  EXPECT_EQ(ports.destination_port, 2);
  EXPECT_EQ(ports.transport, Transport::kTcp);
}

TEST(CaptureRequest, RefusesWhatTakesNoPartToo) {
  EXPECT_EQ(refusal_of("i=lo&h=nonsense&h.src=10.0.0.2"),
            "h: \"nonsense\" is not an IPv4 or IPv6 address");
  EXPECT_EQ(refusal_of("i=lo&p=70000&p.src=1"), "p: \"70000\" is out of range (0 to 65535)");
}

TEST(CaptureRequest, RefusesNumbersThatAreNone) {
  for (const char* const name : {"p.src", "p.dst", "snaplen", "count"})
    for (const char* const bad : {"x", "1x", "-1", "1e3", " 1", "0x1"})
      EXPECT_EQ(refusal_of("i=lo&" + std::string(name) + "=" + bad),
                std::string(name) + ": \"" + bad + "\" is not a number");
  EXPECT_EQ(refusal_of("i=lo&p.src=65536"), "p.src: \"65536\" is out of range (0 to 65535)");
  EXPECT_EQ(refusal_of("i=lo&p.dst=65536"), "p.dst: \"65536\" is out of range (0 to 65535)");
  EXPECT_EQ(refusal_of("i=lo&snaplen=0"), "snaplen: \"0\" is out of range (1 to 262144)");
  EXPECT_EQ(refusal_of("i=lo&snaplen=262145"), "snaplen: \"262145\" is out of range (1 to 262144)");
  EXPECT_EQ(refusal_of("i=lo&count=0"), "count: \"0\" is out of range (1 to 18446744073709551615)");
  EXPECT_EQ(refusal_of("i=lo&count=18446744073709551616"),
            "count: \"18446744073709551616\" is out of range (1 to 18446744073709551615)");
}

TEST(CaptureRequest, TakesTheRest) {
  const CaptureRequest request = request_of(
      "snaplen=96&count=3&self=1&format=pcapng&bpf=tcp%5B13%5D%20%26%202%20!=%200&i=eth0.5");
  EXPECT_EQ(request.snap_length, 96U);
  EXPECT_EQ(request.count, 3U);
  EXPECT_TRUE(request.self);
  EXPECT_EQ(request.format, CaptureRequest::Format::kPcapng);
  EXPECT_EQ(request.bpf, "tcp[13] & 2 != 0");
  EXPECT_EQ(request.interface, "eth0.5");
  EXPECT_FALSE(request_of("i=lo&self=0").self);
  EXPECT_EQ(request_of("i=lo&format=events").format, CaptureRequest::Format::kEvents);
  EXPECT_EQ(refusal_of("i=lo&format=pcap"), "format: \"pcap\" is neither events nor pcapng");
  EXPECT_EQ(refusal_of("i=lo&self=maybe"), "self: \"maybe\" is neither true nor false");
}

TEST(CaptureRequest, IsDecodedAsBrowsersEncode) {
  EXPECT_EQ(request_of("i=lo&bpf=tcp+port+80").bpf, "tcp port 80");
  EXPECT_EQ(request_of("i=lo&bpf=a%2Bb").bpf, "a+b");
  EXPECT_EQ(request_of("i=lo&bpf=tcp[13]|{1}^2=`").bpf, "tcp[13]|{1}^2=`") << "left as they are";
  EXPECT_EQ(request_of("%69=l%6F").interface, "lo");
  EXPECT_EQ(request_of("i=lo&&p=tcp&").transport, Transport::kTcp);
  EXPECT_EQ(request_of("i=b%C3%BCro").interface, "b\xc3\xbcro");
  for (const char* const bad : {"%", "%1", "%zz", "a%"})
    EXPECT_EQ(refusal_of("i=" + std::string(bad)),
              "\"" + std::string(bad) + "\": wrong percent-encoding");
  EXPECT_EQ(refusal_of("i=lo%00x"), "\"lo%00x\": holds a NUL character");
}

TEST(CaptureRequest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(refusal_of("i=lo&snaplenn=1"), "\"snaplenn\": unknown parameter; is snaplen meant?");
  EXPECT_EQ(refusal_of("i=lo&whatever=1"),
            "\"whatever\": unknown parameter; there are i, p, h, h.src, h.dst, p.src, p.dst, tcp, "
            "udp, bpf, snaplen, count, self, format");
}

TEST(CaptureRequest, PassesOverWhatLibrariesAppend) {
  EXPECT_EQ(request_of("i=lo&_=1700000000&lastEventId=7").interface, "lo");
}

TEST(CaptureRequest, SaysSafelyWhatItRefuses) {
  EXPECT_EQ(refusal_of("i=lo&h=%1b%5B0m%ff%0a"),
            "h: \"\\x1b[0m\\xff\\x0a\" is not an IPv4 or IPv6 address");
  EXPECT_LT(refusal_of("i=lo&count=" + std::string(5'000, '9')).size(), 200U);
}

}  // namespace
}  // namespace serverd::packets
