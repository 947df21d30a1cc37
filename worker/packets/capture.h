#pragma once

#include "worker/packets/packet.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

namespace serverd::packets {

/// A capture could not be made, or does not go on: libpcap's text, after the interface's name.
class CaptureError final : public std::runtime_error {
 public:
  explicit CaptureError(const std::string& text, bool forbidden = false)
      : std::runtime_error(text), forbidden_(forbidden) {}
  /// We lack the privilege.
  bool forbidden() const noexcept { return forbidden_; }

 private:
  bool forbidden_;
};

/// Who is given the frames of a capture. The frame is valid during the call.
class FrameSink {
 public:
  /// False: no more of them in this read.
  virtual bool on_frame(const Frame& frame) noexcept = 0;

 protected:
  ~FrameSink() = default;
};

/// A live capture on one network interface, or on "any": libpcap's, without waiting.
class Capture final {
 public:
  struct Settings {
    std::string interface;
    std::uint32_t snap_length;  ///< bytes of a frame
    std::size_t ring_bytes;     ///< kernel memory for frames that were not read yet
  };

  /// Throws CaptureError: no such interface, no permission (CAP_NET_RAW is needed) …
  explicit Capture(const Settings& settings);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  /// As pcap_datalink(3PCAP) says.
  int link_type() const noexcept;
  /// Readable while there are frames. Borrowed.
  int fd() const noexcept;
  /// Empty, or libpcap's text about what is wrong with the pcap-filter(7) expression.
  std::optional<std::string> check_filter(const std::string& expression) const;
  /// Lets only those frames pass that come from now on and match the pcap-filter(7) expression.
  /// Empty, or libpcap's text about what is wrong with it.
  std::optional<std::string> set_filter(const std::string& expression);

  /// Gives at most `most` frames, or those that are there. Empty, or why there will be no more.
  std::optional<std::string> read(std::size_t most, FrameSink& sink);
  /// Empty, or why there will be no more frames though nothing was said: the interface is gone.
  std::optional<std::string> gone() const;
  struct Counts {
    std::uint64_t received = 0;  ///< frames that matched, lost ones too
    std::uint64_t dropped = 0;   ///< of these, found no room in the ring
  };
  Counts counts() const noexcept;

 private:
  struct Handle;
  void activate(const Settings& settings);

  std::string interface_;
  unsigned index_;  ///< of the interface; 0: "any"
  std::unique_ptr<Handle> handle_;
};

/// Empty, or libpcap's text about what is wrong with the pcap-filter(7) expression on a link of
/// this type. Names of hosts are looked for in files only, see forbid_name_service().
std::optional<std::string> filter_error(const std::string& expression, int link_type);

/// A filter may name hosts, and asking a name server would keep the worker from everything else:
/// from now on this process looks in /etc/hosts only.
void forbid_name_service() noexcept;

}  // namespace serverd::packets
