#include "client/pcap2stream/replay.h"

#include "client/pcap2stream/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <sys/resource.h>

namespace serverd::pcap2stream {
namespace {

/// How much one turn of the loop reads before sockets and timers are looked at again.
constexpr std::uint64_t kBytesPerTurn = std::uint64_t{1} << 20;
constexpr int kPacketsPerTurn = 4096;
constexpr auto kProgressInterval = std::chrono::milliseconds(200);
/// Beyond any capture; keeps odd timestamps within the clock's range.
constexpr auto kLongestWait = std::chrono::hours(24 * 365);

/// There may be more sources than the usual soft limit of 1024 descriptors.
void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::uint64_t size_of(const std::string& path) {
  std::error_code error;
  const bool regular = std::filesystem::is_regular_file(path, error);
  const std::uint64_t size = regular ? std::filesystem::file_size(path, error) : 0;
  return error ? 0 : size;
}

}  // namespace

Replay::Replay(Loop& loop, Console& console, ReplayOptions options, Sender::Target target,
               const Timeouts& timeouts, const Sender::Limits& limits)
    : loop_(loop),
      console_(console),
      options_(std::move(options)),
      sender_(loop, console, std::move(target), timeouts, limits, [this] { on_sender_change(); }),
      pace_(loop, [this] { pump(); }),
      progress_(loop, [this] { show_progress(); }),
      capture_size_(size_of(options_.path)) {}

ExitCode Replay::run() {
  raise_descriptor_limit();
  begin_pass();
  schedule_pump();
  if (console_.shows_progress()) progress_.arm_in(kProgressInterval);
  loop_.run();
  if (options_.digests) print_digests();
  if (!sender_.intact()) return kExitBind;
  return capture_damaged_ ? kExitIo : kExitOk;
}

void Replay::begin_pass() {
  extraction_.emplace(CaptureFile::open(options_.path), options_.mode, *this);
  ++passes_begun_;
  first_time_.reset();
}

void Replay::end_pass() {
  extraction_->finish();
  if (passes_begun_ == 1) {
    const std::string ignored = extraction_->ignored();
    if (!ignored.empty()) console_.remark(ignored);
    if (sources_.empty()) console_.remark(options_.path + ": no TCP payload");
  }
  if (const std::string& problem = extraction_->file().problem(); !problem.empty()) {
    if (!std::exchange(capture_damaged_, true)) console_.remark(problem);
  }
  all_read_ = passes_begun_ >= options_.passes || sources_.empty();
  if (!all_read_) begin_pass();
}

void Replay::pump() {
  const std::uint64_t sent_before = sent_;
  for (int packets = 0; !all_read_ && sender_.ready(); ++packets) {
    if (packets == kPacketsPerTurn || sent_ - sent_before >= kBytesPerTurn) {
      schedule_pump();
      break;
    }
    if (!packet_time_) packet_time_ = extraction_->read();
    if (!packet_time_) {
      end_pass();
      continue;
    }
    if (options_.speed > 0 && wait_until_due()) break;
    packet_time_.reset();
    extraction_->deliver();
  }
  sender_.flush();
  if (!all_read_) {
    // Flushing may have made room without an event that would say so.
    if (sender_.ready() && !pace_.armed()) schedule_pump();
    return;
  }
  sender_.finish();
  if (sender_.finished()) loop_.stop();
}

/// Whether the packet at hand is still to come; the timer is set then.
bool Replay::wait_until_due() {
  if (!first_time_) {
    first_time_ = packet_time_;
    pass_began_ = loop_.now();
  }
  using Nanoseconds = std::chrono::duration<double, std::nano>;
  const Nanoseconds after = Nanoseconds(*packet_time_ - *first_time_) / options_.speed;
  const auto wait = std::clamp(after, Nanoseconds(0), Nanoseconds(kLongestWait));
  const auto due = pass_began_ + std::chrono::duration_cast<Clock::duration>(wait);
  if (due <= loop_.now()) return false;
  pace_.arm(due);
  return true;
}

void Replay::on_sender_change() {
  if (all_read_) {
    sender_.finish();
    if (sender_.finished()) loop_.stop();
  } else if (!pace_.armed()) {
    schedule_pump();
  }
}

void Replay::schedule_pump() {
  if (std::exchange(pump_scheduled_, true)) return;
  loop_.defer([this] {
    pump_scheduled_ = false;
    pump();
  });
}

void Replay::on_flow(const FlowInfo& flow) {
  const IpAddress& address = flow.id.source.address;
  if (!source_index_.try_emplace(address, sources_.size()).second) return;
  sources_.push_back(Source{address, 0, Digest()});
  sender_.open(address);
}

void Replay::on_bytes(const FlowInfo& flow, Bytes bytes) {
  const IpAddress& address = flow.id.source.address;
  Source& source = sources_[source_index_.at(address)];
  source.bytes += bytes.size();
  if (options_.digests) source.digest.update(bytes);
  sent_ += bytes.size();
  sender_.send(address, bytes);
}

void Replay::on_gap(const FlowInfo& flow, const Gap& gap) {
  if (passes_begun_ == 1) console_.remark(gap_line(flow, gap));
}

void Replay::show_progress() {
  const std::uint64_t position = extraction_->file().position();
  const std::string part =
      capture_size_ == 0 ? "" : fmt::format(" ({} %)", 100 * position / capture_size_);
  console_.progress(fmt::format("{:.1f} MB read{}, {:.1f} MB sent",
                                static_cast<double>(position) / 1e6, part,
                                static_cast<double>(sent_) / 1e6));
  progress_.arm_in(kProgressInterval);
}

void Replay::print_digests() {
  for (const Source& source : sources_)
    if (const auto port = sender_.port_of(source.address))
      console_.result(
          digest_line(source.digest, source.bytes, source.address, std::to_string(*port)));
}

}  // namespace serverd::pcap2stream
