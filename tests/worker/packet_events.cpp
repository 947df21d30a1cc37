// The events of a capture file's packets, for tests/e2e/compare_with_tshark.py: a line for each
// frame: its number, the bytes captured of it, and the JSON or why there is none. A time that is
// none (damaged files have more than a second of nanoseconds) becomes 0.

#include "worker/packets/event_writer.h"

#include <pcap/pcap.h>

#include <array>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string_view>
#include <vector>

namespace {

using namespace serverd::packets;

constexpr std::array<std::string_view, kOutcomes> kReasons = {
    "packet", "other link type", "other protocol", "later fragment", "malformed"};

/// With PCAP_TSTAMP_PRECISION_NANO tv_usec counts nanoseconds.
std::uint64_t time_of(const timeval& time) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  if (time.tv_sec < 0 || time.tv_usec < 0 || time.tv_usec >= kSecond) return 0;
  return static_cast<std::uint64_t>(time.tv_sec * kSecond + time.tv_usec);
}

void print(std::uint64_t number, const Frame& frame) {
  const Decoded decoded = decode(frame);
  std::cout << number << '\t' << frame.bytes.size() << '\t';
  if (decoded.outcome != Outcome::kPacket) {
    std::cout << kReasons.at(static_cast<std::size_t>(decoded.outcome)) << '\n';
    return;
  }
  std::vector<char> room(packet_event_bound(decoded.packet));
  const std::string_view event(room.data(), write_packet_event(room, number, decoded.packet));
  constexpr std::string_view kData = "\ndata: ";
  const std::size_t begin = event.find(kData) + kData.size();
  std::cout << event.substr(begin, event.size() - begin - 1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "Usage: packet_events <capture>\n";
    return 64;
  }
  char error[PCAP_ERRBUF_SIZE] = "";
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> file(
      pcap_open_offline_with_tstamp_precision(argv[1], PCAP_TSTAMP_PRECISION_NANO, error),
      &pcap_close);
  if (!file) {
    std::cerr << error << '\n';
    return 1;
  }
  std::uint64_t number = 0;
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  while (pcap_next_ex(file.get(), &header, &data) == 1) {
    // A copy of its own, so that a sanitizer sees a byte too many.
    const std::vector<std::uint8_t> bytes(data, data + header->caplen);
    print(++number, {pcap_datalink(file.get()), time_of(header->ts), header->len, bytes});
  }
  return 0;
}
