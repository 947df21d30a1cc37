#pragma once

#include "client/pcap2stream/console.h"
#include "client/pcap2stream/digest.h"
#include "client/pcap2stream/extraction.h"
#include "client/pcap2stream/sender.h"
#include "client/pcap2stream/stream_sink.h"
#include "common/exit_code.h"
#include "common/loop/loop.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace serverd::pcap2stream {

struct ReplayOptions {
  std::string path;
  Mode mode = Mode::kReassemble;
  double speed = 0;  ///< 1: the capture's own timing; 0: as fast as possible
  unsigned passes = 1;
  bool digests = false;
};

/// Sends a capture: reads it as fast as its timing and the receivers allow.
class Replay final : public StreamSink {
 public:
  Replay(Loop& loop, Console& console, ReplayOptions options, Sender::Target target,
         const Timeouts& timeouts = {}, const Sender::Limits& limits = {});

  /// Runs the loop until all is sent, or given up. Throws CaptureError if the capture cannot be
  /// opened.
  ExitCode run();

  void on_flow(const FlowInfo& flow) override;
  void on_bytes(const FlowInfo& flow, Bytes bytes) override;
  void on_gap(const FlowInfo& flow, const Gap& gap) override;

 private:
  struct Source {
    IpAddress address;
    std::uint64_t bytes = 0;
    Digest digest;
  };

  void begin_pass();
  void end_pass();
  void pump();
  bool wait_until_due();
  void on_sender_change();
  void schedule_pump();
  void show_progress();
  void print_digests();

  Loop& loop_;
  Console& console_;
  ReplayOptions options_;
  Sender sender_;
  std::optional<Extraction> extraction_;
  unsigned passes_begun_ = 0;
  bool pump_scheduled_ = false;
  bool all_read_ = false;
  bool capture_damaged_ = false;

  std::optional<std::chrono::nanoseconds> packet_time_;  ///< of a packet read but not delivered
  std::optional<std::chrono::nanoseconds> first_time_;   ///< of this pass's first packet
  Clock::time_point pass_began_{};
  Timer pace_;
  Timer progress_;

  std::vector<Source> sources_;
  std::map<IpAddress, std::size_t> source_index_;
  std::uint64_t sent_ = 0;
  std::uint64_t capture_size_ = 0;  ///< 0: unknown
};

}  // namespace serverd::pcap2stream
