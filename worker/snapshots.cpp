#include "worker/snapshots.h"

#include "common/handoff.h"
#include "common/log.h"
#include "common/os/error.h"
#include "common/parcel.h"

#include <algorithm>
#include <cstdlib>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

namespace serverd {
namespace {

constexpr auto kInterval = std::chrono::seconds(1);
constexpr auto kUrgentInterval = std::chrono::milliseconds(100);

bool is_wanted() {
  const char* variable = std::getenv(kStoreVariable);
  return variable != nullptr && std::string_view(variable) != "0";
}

/// Throws std::system_error.
UniqueFd parcel_of(std::span<const int> connections) {
  Parcel parcel = make_parcel();
  while (!connections.empty()) {
    const auto some = connections.first(std::min(connections.size(), kParcelMessageSize));
    if (const int error = put_into_parcel(parcel.entrance.get(), some, kSnapshotText))
      throw_system_error(error, "parcel");
    connections = connections.subspan(some.size());
  }
  return std::move(parcel.held);
}

}  // namespace

Snapshots::Snapshots(Loop& loop, const Notifier& notifier, bool supervised, Connections connections)
    : loop_(loop),
      notifier_(notifier),
      connections_(std::move(connections)),
      wanted_(supervised && is_wanted()),
      timer_(loop, [this] { send(); }) {}

void Snapshots::changed() { arm(kInterval); }

void Snapshots::changed_urgently() {
  timer_.disarm();
  arm(kUrgentInterval);
}

void Snapshots::arm(Clock::duration after_last) {
  if (wanted_ && !timer_.armed()) timer_.arm(std::max(last_ + after_last, loop_.now()));
}

void Snapshots::send() {
  if (!wanted_) return;
  last_ = loop_.now();
  if (!try_to_send()) changed();
}

bool Snapshots::try_to_send() try {
  const UniqueFd parcel = parcel_of(connections_());
  const int fd = parcel.get();
  failing_ = false;
  return notifier_.send("FDSTORE=1\nFDNAME=snapshot", {&fd, 1});
} catch (const std::system_error& error) {
  if (!std::exchange(failing_, true))
    log::warning("Connections of the last second would not survive the supervisor: {}",
                 error.what());
  return false;
}

}  // namespace serverd
