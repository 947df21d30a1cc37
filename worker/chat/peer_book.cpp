#include "worker/chat/peer_book.h"

#include <algorithm>
#include <utility>

namespace serverd::chat {
namespace {

constexpr std::size_t kMostLearned = 64;
constexpr auto kFirstDelay = std::chrono::seconds(1);
constexpr auto kLongestDelay = std::chrono::seconds(60);

}  // namespace

PeerBook::PeerBook(const std::vector<SocketAddress>& configured, unsigned max_peers,
                   unsigned min_peers)
    : max_peers_(max_peers), min_peers_(min_peers) {
  for (const SocketAddress& address : configured) {
    places_.emplace_back();
    places_.back().address = address;
  }
}

void PeerBook::learn(std::string_view id, const SocketAddress& address) {
  if (min_peers_ == 0) return;
  for (Place& place : places_) {
    if (place.address == address) return;
    if (place.learned && place.id == id) {
      if (!place.in_use) place.address = address;
      return;
    }
  }
  const auto learned = std::count_if(places_.begin(), places_.end(),
                                     [](const Place& place) { return place.learned; });
  if (static_cast<std::size_t>(learned) >= kMostLearned) return;
  places_.emplace_back();
  places_.back().address = address;
  places_.back().id = id;
  places_.back().learned = true;
}

std::vector<PeerBook::Due> PeerBook::take_due(
    Clock::time_point now, unsigned links, const std::function<bool(std::string_view)>& is_linked) {
  std::vector<Due> due;
  for (const Place& place : places_)  // links that are being made
    if (place.in_use && !place.answered) ++links;
  for (std::size_t i = 0; i < places_.size() && links < max_peers_; ++i) {
    Place& place = places_[i];
    if (place.in_use || place.not_before > now || (place.learned && links >= min_peers_)) continue;
    if (!place.id.empty() && is_linked(place.id)) continue;
    place.in_use = true;
    place.answered = false;
    due.push_back({i, place.address});
    ++links;
  }
  return due;
}

std::optional<std::uint64_t> PeerBook::resumed(const SocketAddress& address) {
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (!(places_[i].address == address)) continue;
    places_[i].in_use = true;
    return i;
  }
  return std::nullopt;
}

void PeerBook::identified(std::uint64_t token, std::string_view id) {
  if (token >= places_.size()) return;
  places_[token].id = id;
  places_[token].answered = true;
}

void PeerBook::ended(std::uint64_t token, Clock::time_point now) {
  if (token >= places_.size()) return;
  Place& place = places_[token];
  place.in_use = false;
  if (std::exchange(place.answered, false)) place.failures = 0;
  const Clock::duration delay = kFirstDelay * (1U << place.failures);
  place.not_before = now + std::min<Clock::duration>(delay, kLongestDelay);
  if (delay < kLongestDelay) ++place.failures;
}

}  // namespace serverd::chat
