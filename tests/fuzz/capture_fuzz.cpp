// A capture file is input from strangers: file → link layer → TCP segments → streams must neither
// crash nor deliver a byte twice, whatever it holds.

#include "client/pcap2stream/extraction.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

using namespace serverd::pcap2stream;

/// Checks what every sink may rely on.
class CheckingSink final : public StreamSink {
 public:
  void on_flow(const FlowInfo& flow) override {
    require(flow.number == positions_.size());
    positions_.push_back(0);
  }
  void on_bytes(const FlowInfo& flow, Bytes bytes) override {
    require(flow.number < positions_.size());
    for (const std::uint8_t byte : bytes) sum_ += byte;
    positions_[flow.number] += bytes.size();
  }
  void on_gap(const FlowInfo& flow, const Gap& gap) override {
    require(flow.number < positions_.size() && gap.length > 0);
    require(gap.offset == positions_[flow.number]);
    positions_[flow.number] += gap.length;
  }

 private:
  static void require(bool condition) {
    if (!condition) std::abort();
  }

  std::vector<std::uint64_t> positions_;  ///< in the stream, by flow
  unsigned sum_ = 0;                      ///< so that every byte is read
};

void extract(const std::uint8_t* data, std::size_t size, Mode mode) {
  // fmemopen(3) only reads here; it takes no pointer to const.
  std::FILE* stream = ::fmemopen(const_cast<std::uint8_t*>(data), size, "r");
  if (stream == nullptr) return;
  try {
    CheckingSink sink;
    Extraction extraction(CaptureFile(stream, "fuzz"), mode, sink);
    while (extraction.read()) extraction.deliver();
    extraction.finish();
    static_cast<void>(extraction.ignored());
  } catch (const CaptureError&) {
    return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  extract(data, size, Mode::kReassemble);
  extract(data, size, Mode::kPackets);
  return 0;
}
