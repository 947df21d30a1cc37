#include "client/pcap2stream/ordered_stream.h"

#include <algorithm>
#include <iterator>

namespace serverd::pcap2stream {
namespace {

/// A map node, a vector and the allocator's rounding.
constexpr std::size_t kChunkOverhead = 128;

}  // namespace

std::int32_t OrderedStream::distance(std::uint32_t sequence) const noexcept {
  return static_cast<std::int32_t>(sequence - first_sequence_ - static_cast<std::uint32_t>(next_));
}

std::int64_t OrderedStream::offset_of(std::uint32_t sequence) const noexcept {
  return static_cast<std::int64_t>(next_) + distance(sequence);
}

void OrderedStream::insert(std::uint32_t sequence, Bytes bytes, const Deliver& deliver) {
  const std::int64_t old = -std::int64_t{distance(sequence)};
  if (old >= static_cast<std::int64_t>(bytes.size())) return;
  const auto known = static_cast<std::size_t>(std::max<std::int64_t>(old, 0));
  const auto begin = static_cast<std::uint64_t>(offset_of(sequence)) + known;
  bytes = bytes.subspan(known);

  const bool fits_before_held = held_.empty() || begin + bytes.size() <= held_.begin()->first;
  if (begin == next_ && fits_before_held) {
    next_ += bytes.size();
    deliver(bytes);
  } else {
    store(begin, bytes);
  }
  drain(deliver);
}

void OrderedStream::extend_to(std::uint32_t sequence) noexcept {
  if (const std::int64_t end = offset_of(sequence); end > 0)
    known_end_ = std::max(known_end_, static_cast<std::uint64_t>(end));
}

/// Keeps the parts of `bytes` that no chunk held covers yet.
void OrderedStream::store(std::uint64_t begin, Bytes bytes) {
  auto after = held_.upper_bound(begin);
  while (!bytes.empty()) {
    if (after != held_.begin()) {
      const auto& [start, chunk] = *std::prev(after);
      const std::uint64_t end = start + chunk.size();
      const std::size_t covered =
          end <= begin ? 0 : std::min<std::uint64_t>(end - begin, bytes.size());
      begin += covered;
      bytes = bytes.subspan(covered);
    }
    const std::size_t room = after == held_.end()
                                 ? bytes.size()
                                 : std::min<std::uint64_t>(after->first - begin, bytes.size());
    if (room > 0) append(begin, bytes.first(room));
    begin += room;
    bytes = bytes.subspan(room);
    if (after != held_.end()) ++after;
  }
}

/// Lengthens the chunk that ends at `begin`, so that many small segments cost little.
void OrderedStream::append(std::uint64_t begin, Bytes bytes) {
  const auto after = held_.upper_bound(begin);
  held_cost_ += bytes.size();
  if (after != held_.begin()) {
    auto& [start, chunk] = *std::prev(after);
    if (start + chunk.size() == begin) {
      chunk.insert(chunk.end(), bytes.begin(), bytes.end());
      return;
    }
  }
  held_cost_ += kChunkOverhead;
  held_.emplace_hint(after, begin, std::vector<std::uint8_t>(bytes.begin(), bytes.end()));
}

void OrderedStream::drain(const Deliver& deliver) {
  while (!held_.empty() && held_.begin()->first == next_) {
    const auto chunk = held_.extract(held_.begin());
    held_cost_ -= chunk.mapped().size() + kChunkOverhead;
    next_ += chunk.mapped().size();
    deliver(chunk.mapped());
  }
}

std::optional<Gap> OrderedStream::hole() const noexcept {
  const std::uint64_t end = held_.empty() ? known_end_ : held_.begin()->first;
  if (end <= next_) return std::nullopt;
  return Gap{next_, end - next_};
}

void OrderedStream::skip_hole(const Deliver& deliver) {
  if (const auto gap = hole()) next_ += gap->length;
  drain(deliver);
}

bool OrderedStream::hole_is_before(std::uint32_t sequence) const noexcept {
  return !held_.empty() && offset_of(sequence) >= static_cast<std::int64_t>(held_.begin()->first);
}

}  // namespace serverd::pcap2stream
