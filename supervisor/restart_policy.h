#pragma once

#include "common/config.h"
#include "common/loop/loop.h"

#include <span>

namespace serverd {

/// One end of a worker that was not asked for.
struct Death {
  Clock::time_point at;
  bool was_ready = false;         ///< it had reported READY=1
  Clock::duration healthy_for{};  ///< from readiness to its end; zero if it never was ready
  bool config_error = false;      ///< exit 78: starting it again cannot help
  bool was_probe = false;         ///< it was started to see whether a quarantine can end
};

struct RestartVerdict {
  enum class Action { kStart, kWait, kQuarantine };
  Action action;
  Clock::duration delay;  ///< kWait: until the start; kQuarantine: until the next probe

  bool operator==(const RestartVerdict&) const = default;
};

/// How many deaths `decide_restart` ever looks back on with these settings.
std::size_t deaths_to_remember(const RestartConfig& config) noexcept;

/// Decides what follows the last of `deaths` (oldest first, at least one), which happened now.
///
/// - Died after readiness: at once, while a token bucket of `rate` (refilled by `rate` a second)
///   lasts; then as soon as it has a token again. A port is never closed for what peers did to it.
/// - Died before readiness: `initial` × 2ⁿ up to `maximum`, spread by `jitter` × 20 %; deaths
/// before
///   a worker that stayed up for `healthy_after` are forgotten. `quarantine_after` of them within
///   `quarantine_window`, a failed probe, or a configuration error: quarantine.
///
/// `jitter`: -1 … 1. Pure: no clock, no state.
RestartVerdict decide_restart(const RestartConfig& config, std::span<const Death> deaths,
                              double jitter);

}  // namespace serverd
