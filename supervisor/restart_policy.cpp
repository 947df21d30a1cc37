#include "supervisor/restart_policy.h"

#include <algorithm>
#include <cmath>

namespace serverd {
namespace {

using Seconds = std::chrono::duration<double>;
using Action = RestartVerdict::Action;

constexpr double kJitterShare = 0.2;

Clock::duration to_clock(Seconds seconds) {
  return std::chrono::duration_cast<Clock::duration>(seconds);
}

/// Deaths that still count: those after the last worker that proved healthy, that one's included.
std::span<const Death> since_health(const RestartConfig& config, std::span<const Death> deaths) {
  for (std::size_t i = deaths.size(); i-- > 0;)
    if (deaths[i].healthy_for >= config.healthy_after) return deaths.subspan(i);
  return deaths;
}

/// A token bucket replayed over the deaths after readiness; each takes one token. How full it was
/// before a history that has been cut is not known; taken as empty it is right again within a
/// second, taken as full it would give the same tokens over and over.
Clock::duration wait_for_token(const RestartConfig& config, std::span<const Death> deaths) {
  const double capacity = config.rate;
  double tokens = deaths.size() < deaths_to_remember(config) ? capacity : 0;
  Clock::time_point last = deaths.front().at;
  for (const Death& death : deaths) {
    if (!death.was_ready) continue;
    tokens = std::min(capacity, tokens + Seconds(death.at - last).count() * config.rate);
    tokens -= 1;
    last = death.at;
  }
  return tokens >= 0 ? Clock::duration::zero() : to_clock(Seconds(-tokens / config.rate));
}

Clock::duration back_off(const RestartConfig& config, std::size_t failures, double jitter) {
  const double doublings = std::min<double>(static_cast<double>(failures) - 1, 40);
  const Seconds plain =
      std::min<Seconds>(Seconds(config.initial) * std::exp2(doublings), Seconds(config.maximum));
  return to_clock(plain * (1 + kJitterShare * std::clamp(jitter, -1.0, 1.0)));
}

}  // namespace

std::size_t deaths_to_remember(const RestartConfig& config) noexcept {
  return std::max<std::size_t>({2 * std::size_t{config.rate}, config.quarantine_after, 64});
}

RestartVerdict decide_restart(const RestartConfig& config, std::span<const Death> deaths,
                              double jitter) {
  const Death& last = deaths.back();
  const RestartVerdict quarantine{Action::kQuarantine, config.probe_interval};
  if (last.config_error) return quarantine;
  if (last.was_ready) {
    const Clock::duration wait = wait_for_token(config, deaths);
    return {wait == Clock::duration::zero() ? Action::kStart : Action::kWait, wait};
  }
  if (last.was_probe) return quarantine;

  std::size_t failures = 0;
  std::size_t recent_failures = 0;
  for (const Death& death : since_health(config, deaths)) {
    if (death.was_ready) continue;
    ++failures;
    if (last.at - death.at <= config.quarantine_window) ++recent_failures;
  }
  if (recent_failures >= config.quarantine_after) return quarantine;
  return {Action::kWait, back_off(config, failures, jitter)};
}

}  // namespace serverd
