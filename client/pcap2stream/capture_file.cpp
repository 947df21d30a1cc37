#include "client/pcap2stream/capture_file.h"

#include "common/os/error.h"

#include <fmt/format.h>
#include <pcap/pcap.h>

#include <cerrno>
#include <utility>

namespace serverd::pcap2stream {
namespace {

std::string link_type_name(int dlt) {
  const char* name = pcap_datalink_val_to_name(dlt);
  return fmt::format("{} ({})", name == nullptr ? "unknown" : name, dlt);
}

/// libpcap closes the stream itself only once it has accepted it.
pcap_t* open_handle(std::FILE* stream, const std::string& name) {
  char error[PCAP_ERRBUF_SIZE] = "";
  pcap_t* handle =
      pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_NANO, error);
  if (handle != nullptr) return handle;
  if (stream != stdin) std::fclose(stream);
  throw CaptureError(fmt::format("{}: not a capture file we can read: {}", name, error));
}

}  // namespace

CaptureFile CaptureFile::open(const std::string& path) {
  if (path == "-") return {stdin, "standard input"};
  std::FILE* stream = std::fopen(path.c_str(), "re");
  if (stream == nullptr) {
    const int error = errno;
    throw CaptureError(fmt::format("{}: {}", path, error_text(error)));
  }
  return {stream, path};
}

CaptureFile::CaptureFile(std::FILE* stream, std::string name)
    : name_(std::move(name)), handle_(open_handle(stream, name_)) {
  const int dlt = pcap_datalink(handle_.get());
  const std::optional<wire::LinkType> type = wire::link_type_of(dlt);
  if (!type)
    throw CaptureError(
        fmt::format("{}: link type {} is not supported: Ethernet, Linux cooked v1 and v2, raw IP, "
                    "null and loopback are",
                    name_, link_type_name(dlt)));
  link_type_ = *type;
}

CaptureFile::~CaptureFile() = default;
CaptureFile::CaptureFile(CaptureFile&&) noexcept = default;
CaptureFile& CaptureFile::operator=(CaptureFile&&) noexcept = default;

void CaptureFile::Close::operator()(pcap* handle) const noexcept { pcap_close(handle); }

std::optional<CapturedPacket> CaptureFile::next() {
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  const int result = pcap_next_ex(handle_.get(), &header, &data);
  if (result == 1) {
    ++packets_;
    // With PCAP_TSTAMP_PRECISION_NANO tv_usec counts nanoseconds.
    return CapturedPacket{
        std::chrono::seconds(header->ts.tv_sec) + std::chrono::nanoseconds(header->ts.tv_usec),
        Bytes(data, header->caplen), header->len};
  }
  if (result != PCAP_ERROR_BREAK && problem_.empty())
    problem_ = fmt::format("{}: cut or damaged after packet {}, near byte {}: {}", name_, packets_,
                           position(), pcap_geterr(handle_.get()));
  return std::nullopt;
}

std::uint64_t CaptureFile::position() const noexcept {
  const off_t offset = ::ftello(pcap_file(handle_.get()));
  return offset < 0 ? 0 : static_cast<std::uint64_t>(offset);
}

}  // namespace serverd::pcap2stream
