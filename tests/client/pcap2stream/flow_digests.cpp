// Prints what pcap2stream finds in a capture, a line per TCP flow:
//   <source ip> <source port> <destination ip> <destination port> <bytes> <bytes missing>
//   <syn|no-syn> <sha256>
// For tests/e2e/compare_with_tcpflow.sh. Exit 0; 74 if the capture cannot be read to its end.

#include "client/pcap2stream/digest.h"
#include "client/pcap2stream/extraction.h"
#include "common/exit_code.h"

#include <fmt/format.h>

#include <cstdio>
#include <vector>

namespace {

using namespace serverd::pcap2stream;

class FlowDigests final : public StreamSink {
 public:
  void on_flow(const FlowInfo& flow) override { flows_.push_back({flow, 0, 0, Digest()}); }
  void on_bytes(const FlowInfo& flow, Bytes bytes) override {
    flows_[flow.number].bytes += bytes.size();
    flows_[flow.number].digest.update(bytes);
  }
  void on_gap(const FlowInfo& flow, const Gap& gap) override {
    flows_[flow.number].missing += gap.length;
  }

  void print() const {
    for (const Flow& flow : flows_) {
      const auto& [source, destination] = flow.info.id;
      fmt::print("{} {} {} {} {} {} {} {}\n", source.address.to_string(), source.port,
                 destination.address.to_string(), destination.port, flow.bytes, flow.missing,
                 flow.info.syn_seen ? "syn" : "no-syn", flow.digest.hex());
    }
  }

 private:
  struct Flow {
    FlowInfo info;
    std::uint64_t bytes = 0;
    std::uint64_t missing = 0;
    Digest digest;
  };
  std::vector<Flow> flows_;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    fmt::print(stderr, "Usage: flow_digests <pcap_file>\n");
    return serverd::kExitUsage;
  }
  FlowDigests flows;
  Extraction extraction(CaptureFile::open(argv[1]), Mode::kReassemble, flows);
  while (extraction.read()) extraction.deliver();
  extraction.finish();
  flows.print();
  if (extraction.file().problem().empty()) return serverd::kExitOk;
  fmt::print(stderr, "{}\n", extraction.file().problem());
  return serverd::kExitIo;
} catch (const std::exception& error) {
  fmt::print(stderr, "{}\n", error.what());
  return serverd::kExitIo;
}
