#pragma once

#include "client/pcap2stream/bytes.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace serverd::pcap2stream {

/// Bytes of a stream that the capture does not have.
struct Gap {
  std::uint64_t offset = 0;  ///< in the stream, gaps included
  std::uint64_t length = 0;
};

/// The bytes of one direction of a TCP connection, put in order (RFC 9293 section 3.4).
///
/// Every byte is delivered once: of two segments that overlap, the one that came first counts.
/// Sequence numbers are unwrapped to 64-bit offsets from the stream's first byte.
class OrderedStream final {
 public:
  using Deliver = std::function<void(Bytes)>;

  explicit OrderedStream(std::uint32_t first_sequence) noexcept : first_sequence_(first_sequence) {}

  /// Takes bytes that begin at `sequence` and delivers what is in order now. Bytes beyond a hole
  /// are kept.
  void insert(std::uint32_t sequence, Bytes bytes, const Deliver& deliver);
  /// The stream is known to reach up to `sequence`, though its bytes may never come.
  void extend_to(std::uint32_t sequence) noexcept;
  /// The first hole: before the bytes held, or at the end if the stream is known to go on.
  std::optional<Gap> hole() const noexcept;
  /// Gives up the first hole, if any, and delivers what follows it.
  void skip_hole(const Deliver& deliver);

  std::uint32_t first_sequence() const noexcept { return first_sequence_; }
  /// Nothing delivered, nothing held.
  bool untouched() const noexcept { return next_ == 0 && held_.empty(); }
  /// Whether bytes wait behind a hole.
  bool holds_bytes() const noexcept { return !held_.empty(); }
  /// Whether the peer, having acknowledged all before `sequence`, has got what is missing here.
  bool hole_is_before(std::uint32_t sequence) const noexcept;
  /// What the bytes held cost in memory, roughly.
  std::size_t held_cost() const noexcept { return held_cost_; }
  /// How far `sequence` is from the next byte expected, modulo 2^32.
  std::int32_t distance(std::uint32_t sequence) const noexcept;

 private:
  void store(std::uint64_t begin, Bytes bytes);
  void append(std::uint64_t begin, Bytes bytes);
  void drain(const Deliver& deliver);
  std::int64_t offset_of(std::uint32_t sequence) const noexcept;

  std::uint32_t first_sequence_;
  std::uint64_t next_ = 0;                                   ///< offset of the next byte to deliver
  std::uint64_t known_end_ = 0;                              ///< the stream reaches at least here
  std::map<std::uint64_t, std::vector<std::uint8_t>> held_;  ///< by offset; disjoint, after next_
  std::size_t held_cost_ = 0;
};

}  // namespace serverd::pcap2stream
