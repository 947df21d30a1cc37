#pragma once

#include "client/pcap2stream/bytes.h"
#include "common/wire/link_layer.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

struct pcap;

namespace serverd::pcap2stream {

struct CapturedPacket {
  std::chrono::nanoseconds timestamp{};  ///< since the epoch
  Bytes bytes;                           ///< as captured; valid until the next packet is read
  std::size_t wire_size = 0;             ///< as sent; more than bytes.size() if snapped
};

/// A capture cannot be read at all; what() is one line that names the file.
class CaptureError final : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A pcap or pcapng file, microseconds or nanoseconds, read through libpcap packet by packet.
class CaptureFile final {
 public:
  /// Opens `path`, "-" for standard input. Throws CaptureError.
  static CaptureFile open(const std::string& path);
  /// Reads from `stream` and owns it; `name` is for messages. Throws CaptureError, and has then
  /// closed the stream.
  CaptureFile(std::FILE* stream, std::string name);
  ~CaptureFile();
  CaptureFile(CaptureFile&&) noexcept;
  CaptureFile& operator=(CaptureFile&&) noexcept;

  wire::LinkType link_type() const noexcept { return link_type_; }
  /// The next packet; empty at the end, and where the file is cut or damaged: see problem().
  std::optional<CapturedPacket> next();
  /// Empty, or one line that says where and why reading ended before the end.
  const std::string& problem() const noexcept { return problem_; }
  /// Bytes read so far, for progress; 0 where that cannot be told.
  std::uint64_t position() const noexcept;

 private:
  struct Close {
    void operator()(pcap* handle) const noexcept;
  };

  std::string name_;
  std::unique_ptr<pcap, Close> handle_;
  wire::LinkType link_type_ = wire::LinkType::kEthernet;
  std::uint64_t packets_ = 0;
  std::string problem_;
};

}  // namespace serverd::pcap2stream
