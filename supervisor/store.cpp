#include "supervisor/store.h"

#include "common/log.h"
#include "supervisor/own_unit.h"
#include "supervisor/supervisor_state.h"

#include <charconv>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <utility>

namespace serverd {
namespace {

constexpr std::string_view kPrefix = "kept.";
constexpr auto kBusPatience = std::chrono::milliseconds(300);
/// Changes come in groups, and each is packed anew as a whole.
constexpr auto kFollowDelay = std::chrono::milliseconds(200);
constexpr auto kHandOverPatience = std::chrono::seconds(3);
/// Where nobody can be asked how many descriptors are kept.
constexpr unsigned kEnough = 1000;

std::optional<StoreSize> ask_running_systemd() {
  return systemd_runs() ? ask_store_size(kBusPatience) : std::nullopt;
}

/// systemd tells from version 254 on, and can be asked before that.
unsigned store_size(const ServiceManager& manager) {
  const char* variable = std::getenv("FDSTORE");
  const std::string told = variable == nullptr ? "" : variable;
  ::unsetenv("FDSTORE");
  if (!manager.present() || (told.empty() && !systemd_runs())) return 0;
  unsigned size = 0;
  if (told.empty()) {
    const std::optional<StoreSize> asked = ask_store_size(kBusPatience);
    size = asked ? asked->most : kEnough;
  } else {
    std::from_chars(told.data(), told.data() + told.size(), size);
  }
  if (size < 2)
    log::warning(
        "The service manager keeps {} descriptors of ours, at least 2 are needed "
        "(FileDescriptorStoreMax=): {}",
        size,
        size == 0 ? "connections end with a restart"
                  : "connections can be lost if the daemon is killed");
  return size;
}

}  // namespace

std::string kept_name(std::uint64_t number) {
  return std::string(kPrefix) + std::to_string(number);
}

std::uint64_t kept_number(const std::string& name) {
  std::uint64_t number = 0;
  if (!name.starts_with(kPrefix)) return 0;
  const char* begin = name.data() + kPrefix.size();
  const char* end = name.data() + name.size();
  return std::from_chars(begin, end, number).ptr == end ? number : 0;
}

Store::Store(Loop& loop, ServiceManager& manager, State state, std::uint64_t last)
    : manager_(manager),
      state_(std::move(state)),
      last_(last),
      most_(store_size(manager)),
      timer_(loop, [this] { put(); }) {}

void Store::follow() {
  following_ = usable();
  changed();
}

void Store::changed() {
  if (following_ && !timer_.armed()) timer_.arm_in(kFollowDelay);
}

void Store::clear() {
  following_ = false;
  timer_.disarm();
  forget_last();
}

void Store::forget_last() {
  if (last_ > 0) manager_.forget(kept_name(last_));
}

void Store::put() {
  // A service manager that does not read is not told the same over and over.
  if (!manager_.idle()) return changed();
  try {
    UniqueFd state = pack_state(state_());
    if (most_ == 1) forget_last();
    manager_.keep(kept_name(last_ + 1), std::move(state));
    if (most_ > 1) forget_last();
    ++last_;
    failing_ = false;
  } catch (const std::system_error& error) {
    if (!std::exchange(failing_, true))
      log::warning("What the next start needs cannot be stored: {}", error.what());
    changed();
  }
}

bool Store::hand_over() {
  following_ = false;
  timer_.disarm();
  const auto deadline = Clock::now() + kHandOverPatience;
  // The unit can have been changed since the start.
  if (const auto store = ask_running_systemd()) most_ = store->most;
  if (manager_.flush(deadline)) put();
  bool done = !failing_ && manager_.flush(deadline) && manager_.barrier(deadline);
  if (done) {
    const auto store = ask_running_systemd();
    done = !store || store->used > 0;
  }
  if (!done)
    log::error("The service manager did not take what the next start needs: connections are lost");
  return done;
}

}  // namespace serverd
