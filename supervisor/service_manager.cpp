#include "supervisor/service_manager.h"

#include "common/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace serverd {
namespace {

/// Of a manager that does not read for hours, only the latest is of interest.
constexpr std::size_t kMostWaiting = 16;
constexpr auto kRetryDelay = std::chrono::milliseconds(100);
/// However short the interval, the loop must not spin.
constexpr auto kShortestHeartbeat = std::chrono::milliseconds(1);

std::chrono::microseconds monotonic_time() {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch());
}

std::string status_line(const std::string& status) { return "STATUS=" + status; }

}  // namespace

ServiceManager::ServiceManager(Loop& loop)
    : retry_(loop, [this] { send_waiting(); }), heartbeat_(loop, [this] { send_heartbeat(); }) {
  if (present() && watchdog_ > std::chrono::microseconds::zero()) send_heartbeat();
}

void ServiceManager::starting(std::chrono::microseconds at_most) {
  send(fmt::format("STATUS=starting\nEXTEND_TIMEOUT_USEC={}", at_most.count()));
}

void ServiceManager::ready(const std::string& status) {
  status_ = status_line(status);
  send("READY=1\n" + status_);
}

void ServiceManager::status(const std::string& status) {
  std::string line = status_line(status);
  if (line == status_) return;
  status_ = std::move(line);
  send(status_);
}

/// systemd asks for the time with RELOADING=1 from version 253 on, for Type=notify-reload.
void ServiceManager::reloading() {
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", monotonic_time().count()));
}

void ServiceManager::stopping(const std::string& status, std::chrono::microseconds at_most) {
  status_ = status_line(status);
  send(fmt::format("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n{}", at_most.count(), status_));
}

void ServiceManager::send(std::string lines) {
  if (!present()) return;
  if (waiting_.empty() && notifier_.send(lines)) return;
  if (waiting_.empty())
    log::warning("The service manager does not read what it is told (NOTIFY_SOCKET)");
  else if (waiting_.back().starts_with("STATUS=") && lines.starts_with("STATUS="))
    waiting_.pop_back();  // the new one says it better
  if (waiting_.size() == kMostWaiting) waiting_.pop_front();
  waiting_.push_back(std::move(lines));
  retry_.arm_in(kRetryDelay);
}

void ServiceManager::send_waiting() {
  while (!waiting_.empty() && notifier_.send(waiting_.front())) waiting_.pop_front();
  if (!waiting_.empty()) retry_.arm_in(kRetryDelay);
}

/// A third, as for workers: one that is late does no harm yet.
void ServiceManager::send_heartbeat() {
  notifier_.send("WATCHDOG=1");
  heartbeat_.arm_in(std::max<Clock::duration>(watchdog_ / 3, kShortestHeartbeat));
}

}  // namespace serverd
