#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace serverd {

/// What systemd is doing with the unit that this process belongs to.
enum class UnitJob {
  kNone,
  kStop,
  kRestart,
  kUnknown  ///< it cannot be asked
};

struct UnitJobAnswer {
  UnitJob job;
  std::string why;  ///< of kUnknown
};

/// Asks systemd over its bus, see org.freedesktop.systemd1(5). Waits at most `at_most`. Unknown,
/// too, if another process is the main one of the unit: then systemd did not start this one.
UnitJobAnswer ask_unit_job(std::chrono::milliseconds at_most);

/// The service manager's store of descriptors.
struct StoreSize {
  unsigned most;  ///< FileDescriptorStoreMax; 0: nothing is kept
  unsigned used;
};

/// As ask_unit_job. Empty if systemd cannot be asked.
std::optional<StoreSize> ask_store_size(std::chrono::milliseconds at_most);

/// sd_booted(3): there is a systemd that could be our service manager.
bool systemd_runs() noexcept;

}  // namespace serverd
