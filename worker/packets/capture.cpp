#include "worker/packets/capture.h"

#include <fmt/format.h>
#include <pcap/pcap.h>

#include <array>

#include <net/if.h>
#include <nss.h>

namespace serverd::packets {
namespace {

/// A block of frames is handed over when it is full or so old: few wake-ups for many packets, and a
/// delay that nobody sees for a few.
constexpr int kBlockTimeoutMs = 2;

constexpr const char* kAny = "any";
constexpr int kLargestSnapLength = 262'144;

struct CloseHandle {
  void operator()(pcap_t* handle) const noexcept { pcap_close(handle); }
};
using PcapHandle = std::unique_ptr<pcap_t, CloseHandle>;

/// A compiled filter, freed at the end.
struct Program {
  bpf_program code{};
  ~Program() { pcap_freecode(&code); }
};

/// As tcpdump(8) puts it.
std::string activation_error(const std::string& interface, int status, pcap_t* handle) {
  const std::string detail = pcap_geterr(handle);
  if (status == PCAP_ERROR) return fmt::format("{}: {}", interface, detail);
  return fmt::format("{}: {} ({})", interface, pcap_statustostr(status), detail);
}

struct Reading {
  FrameSink* sink;
  pcap_t* handle;
  int link_type;
  bool stopped = false;
};

void give_frame(u_char* user, const pcap_pkthdr* header, const u_char* bytes) noexcept {
  Reading& reading = *reinterpret_cast<Reading*>(user);
  if (reading.stopped) return;
  const auto seconds = static_cast<std::uint64_t>(header->ts.tv_sec);
  const auto nanoseconds = static_cast<std::uint64_t>(header->ts.tv_usec);  // as was asked for
  const Frame frame{reading.link_type, seconds * 1'000'000'000 + nanoseconds, header->len,
                    wire::Bytes(bytes, header->caplen)};
  if (reading.sink->on_frame(frame)) return;
  reading.stopped = true;
  pcap_breakloop(reading.handle);
}

}  // namespace

struct Capture::Handle {
  PcapHandle pcap;
  int fd = -1;
  int link_type = 0;
};

Capture::Capture(const Settings& settings)
    : interface_(settings.interface), index_(0), handle_(std::make_unique<Handle>()) {
  if (interface_ != kAny) {
    // libpcap would open devices of other kinds too: USB, D-Bus, netfilter.
    index_ = ::if_nametoindex(interface_.c_str());
    if (index_ == 0) {
      const char* text = pcap_statustostr(PCAP_ERROR_NO_SUCH_DEVICE);
      throw CaptureError(fmt::format("{}: {} ({})", interface_, text, text));
    }
  }
  activate(settings);
}

Capture::~Capture() = default;

void Capture::activate(const Settings& settings) {
  std::array<char, PCAP_ERRBUF_SIZE> error{};
  PcapHandle pcap(pcap_create(interface_.c_str(), error.data()));
  if (!pcap) throw CaptureError(fmt::format("{}: {}", interface_, error.data()));
  pcap_set_snaplen(pcap.get(), static_cast<int>(settings.snap_length));
  pcap_set_promisc(pcap.get(), 1);
  pcap_set_timeout(pcap.get(), kBlockTimeoutMs);
  pcap_set_buffer_size(pcap.get(), static_cast<int>(settings.ring_bytes));
  pcap_set_tstamp_precision(pcap.get(), PCAP_TSTAMP_PRECISION_NANO);
  const int status = pcap_activate(pcap.get());
  if (status < 0)
    throw CaptureError(activation_error(interface_, status, pcap.get()),
                       status == PCAP_ERROR_PERM_DENIED);
  if (pcap_setnonblock(pcap.get(), 1, error.data()) != 0)
    throw CaptureError(fmt::format("{}: {}", interface_, error.data()));
  handle_->fd = pcap_get_selectable_fd(pcap.get());
  handle_->link_type = pcap_datalink(pcap.get());
  if (handle_->fd < 0)
    throw CaptureError(fmt::format("{}: cannot be waited for with poll(2)", interface_));
  handle_->pcap = std::move(pcap);
}

int Capture::link_type() const noexcept { return handle_->link_type; }

int Capture::fd() const noexcept { return handle_->fd; }

std::optional<std::string> Capture::check_filter(const std::string& expression) const {
  pcap_t* pcap = handle_->pcap.get();
  Program program;
  if (pcap_compile(pcap, &program.code, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) == 0)
    return std::nullopt;
  return pcap_geterr(pcap);
}

std::optional<std::string> Capture::set_filter(const std::string& expression) {
  pcap_t* pcap = handle_->pcap.get();
  Program program;
  if (pcap_compile(pcap, &program.code, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0 ||
      pcap_setfilter(pcap, &program.code) != 0)
    return pcap_geterr(pcap);
  return std::nullopt;
}

std::optional<std::string> Capture::read(std::size_t most, FrameSink& sink) {
  pcap_t* pcap = handle_->pcap.get();
  Reading reading{&sink, pcap, handle_->link_type};
  const int n =
      pcap_dispatch(pcap, static_cast<int>(most), give_frame, reinterpret_cast<u_char*>(&reading));
  if (n >= 0 || n == PCAP_ERROR_BREAK) return std::nullopt;
  return fmt::format("{}: {}", interface_, pcap_geterr(pcap));
}

std::optional<std::string> Capture::gone() const {
  if (index_ == 0 || ::if_nametoindex(interface_.c_str()) == index_) return std::nullopt;
  return fmt::format("{}: The interface disappeared", interface_);
}

Capture::Counts Capture::counts() const noexcept {
  pcap_stat statistics{};
  if (pcap_stats(handle_->pcap.get(), &statistics) != 0) return {};
  return {statistics.ps_recv, statistics.ps_drop};
}

std::optional<std::string> filter_error(const std::string& expression, int link_type) {
  const PcapHandle dead(pcap_open_dead(link_type, kLargestSnapLength));
  Program program;
  if (pcap_compile(dead.get(), &program.code, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) == 0)
    return std::nullopt;
  return pcap_geterr(dead.get());
}

void forbid_name_service() noexcept {
  for (const char* database : {"hosts", "networks", "protocols", "services", "ethers"})
    ::__nss_configure_lookup(database, "files");
}

}  // namespace serverd::packets
