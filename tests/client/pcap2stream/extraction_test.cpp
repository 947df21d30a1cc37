#include "client/pcap2stream/extraction.h"

#include "client/pcap2stream/digest.h"
#include "tests/client/pcap2stream/packets.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>

namespace serverd::pcap2stream {
namespace {

std::string extract(const Buffer& content, Mode mode, RecordingSink& sink) {
  Extraction extraction(CaptureFile(stream_of(content), "test.pcap"), mode, sink);
  while (extraction.read()) extraction.deliver();
  extraction.finish();
  return extraction.ignored();
}

const std::vector<Recorded> kRetransmitted = {
    {0, ethernet(ipv4(Segment{.sequence = 3, .payload = "def"})), 0},
    {1, ethernet(ipv4(Segment{.sequence = 6, .payload = "ghi"})), 0},
    {2, ethernet(ipv4(Segment{.sequence = 3, .payload = "def"})), 0},
};

TEST(Extraction, ReassemblesOrPassesPacketsAsTheyCome) {
  RecordingSink reassembled;
  extract(pcap_file(kRetransmitted), Mode::kReassemble, reassembled);
  EXPECT_EQ(reassembled.order, "defghi");
  RecordingSink packets;
  extract(pcap_file(kRetransmitted), Mode::kPackets, packets);
  EXPECT_EQ(packets.order, "defghidef");
  EXPECT_EQ(packets.streams.size(), 1U);
}

TEST(Extraction, TellsWhatItIgnored) {
  const std::vector<Recorded> packets = {{0, Buffer(5), 0},
                                         {0, ethernet(Buffer(30, 0x45)), 0},
                                         {0, ethernet(ipv4(5, 9, Buffer(48), 0x2000)), 0},
                                         {0, ethernet(Buffer(40), 0x0806), 0}};
  RecordingSink sink;
  EXPECT_EQ(extract(pcap_file(packets), Mode::kReassemble, sink),
            "Ignored: 1 malformed or cut packets, 48 bytes of incomplete IPv4 datagrams");
}

TEST(Extraction, SurvivesACaptureCutAtEveryByte) {
  const Buffer whole = pcap_file(kRetransmitted);
  for (std::size_t size = 24; size < whole.size(); ++size) {
    RecordingSink sink;
    extract(Buffer(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)),
            Mode::kReassemble, sink);
    EXPECT_EQ(std::string("defghi").rfind(sink.order, 0), 0U) << size << ": " << sink.order;
  }
}

/// SHA-256 and bytes by source address.
class DigestSink final : public StreamSink {
 public:
  void on_flow(const FlowInfo&) override {}
  void on_bytes(const FlowInfo& flow, Bytes bytes) override {
    Entry& entry = entries[flow.id.source.address.to_string()];
    entry.digest.update(bytes);
    entry.bytes += bytes.size();
  }
  void on_gap(const FlowInfo& flow, const Gap& gap) override {
    ADD_FAILURE() << flow.id.to_string() << " has a gap at " << gap.offset;
  }

  struct Entry {
    Digest digest;
    std::uint64_t bytes = 0;
  };
  std::map<std::string, Entry> entries;
};

TEST(Extraction, FindsWhatTheHostsOfTheDemoCaptureSent) {
  const std::string directory = PCAP2STREAM_TEST_DATA;
  DigestSink sink;
  Extraction extraction(CaptureFile::open(directory + "/demo.pcap"), Mode::kReassemble, sink);
  while (extraction.read()) extraction.deliver();
  extraction.finish();
  EXPECT_EQ(extraction.file().problem(), "");

  std::ifstream expected(directory + "/demo.sha256");
  std::string digest, source;
  std::uint64_t bytes = 0;
  std::size_t hosts = 0;
  for (; expected >> digest >> bytes >> source; ++hosts) {
    ASSERT_EQ(sink.entries.count(source), 1U) << source;
    EXPECT_EQ(sink.entries[source].digest.hex(), digest) << source;
    EXPECT_EQ(sink.entries[source].bytes, bytes) << source;
  }
  EXPECT_EQ(hosts, 3U);
  EXPECT_EQ(sink.entries.size(), hosts);
}

}  // namespace
}  // namespace serverd::pcap2stream
