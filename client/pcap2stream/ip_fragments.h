#pragma once

#include "client/pcap2stream/bytes.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace serverd::pcap2stream {

/// Puts fragmented IPv4 datagrams together again, by libtins.
///
/// The one thing we take from libtins. Its stream follower and DataTracker did not fit: they hold
/// out-of-order data without a bound, cannot go on after a gap but at a segment boundary, let
/// neither the first nor the last of two overlapping segments win, and know flows only from their
/// SYN (or guess both directions at once). Its TCP and IPv6 parsers refuse packets that a receiver
/// takes (snapped ones, odd options, offloaded ones of length 0), and those bytes would be lost.
class IpFragments final {
 public:
  /// Fragments that wait for others are given up when they are more than `limit` bytes together.
  explicit IpFragments(std::size_t limit = std::size_t{16} << 20);
  ~IpFragments();

  /// `fragment` is an IPv4 packet with sound lengths, without padding, whole. Returns the datagram
  /// once it is complete, with a header of its own.
  std::optional<std::vector<std::uint8_t>> add(Bytes fragment);
  /// Bytes of fragments that have not become part of a datagram.
  std::uint64_t unused_bytes() const noexcept { return held_ + given_up_; }

 private:
  struct Reassembler;

  std::size_t limit_;
  std::unique_ptr<Reassembler> reassembler_;
  std::uint64_t held_ = 0;
  std::uint64_t given_up_ = 0;
};

}  // namespace serverd::pcap2stream
