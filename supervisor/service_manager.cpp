#include "supervisor/service_manager.h"

#include "common/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace serverd {
namespace {

/// A manager that has not read for so long is not waited for.
constexpr std::size_t kMostWaiting = 256;
constexpr auto kRetryDelay = std::chrono::milliseconds(100);
/// However short the interval, the loop must not spin.
constexpr auto kShortestHeartbeat = std::chrono::milliseconds(1);

std::chrono::microseconds monotonic_time() {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch());
}

/// POLLHUP is always waited for.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  pollfd state{fd, events, 0};
  return left.count() > 0 && ::poll(&state, 1, static_cast<int>(left.count())) == 1;
}

std::string status_line(const std::string& status) { return "STATUS=" + status; }

}  // namespace

ServiceManager::ServiceManager(Loop& loop)
    : retry_(loop, [this] { send_waiting(); }), heartbeat_(loop, [this] { send_heartbeat(); }) {
  if (present() && watchdog_ > std::chrono::microseconds::zero()) send_heartbeat();
}

void ServiceManager::starting(std::chrono::microseconds at_most) {
  send({fmt::format("STATUS=starting\nEXTEND_TIMEOUT_USEC={}", at_most.count())});
}

void ServiceManager::ready(const std::string& status) {
  status_ = status_line(status);
  send({"READY=1\n" + status_});
}

void ServiceManager::status(const std::string& status) {
  std::string line = status_line(status);
  if (line == status_) return;
  status_ = std::move(line);
  send({status_});
}

/// systemd asks for the time with RELOADING=1 from version 253 on, for Type=notify-reload.
void ServiceManager::reloading() {
  send({fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", monotonic_time().count())});
}

void ServiceManager::stopping(const std::string& status, std::chrono::microseconds at_most) {
  status_ = status_line(status);
  send({fmt::format("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n{}", at_most.count(), status_)});
}

/// FDPOLL=0, for the other end of a parcel is closed, which would have it taken out.
void ServiceManager::keep(const std::string& name, UniqueFd fd) {
  send({fmt::format("FDSTORE=1\nFDPOLL=0\nFDNAME={}", name), std::move(fd)});
}

void ServiceManager::forget(const std::string& name) {
  send({fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name)});
}

bool ServiceManager::try_to_send(const Message& message) const noexcept {
  const int fd = message.fd.get();
  return notifier_.send(message.lines, {&fd, fd < 0 ? 0U : 1U});
}

void ServiceManager::send(Message message) {
  if (!present()) return;
  if (waiting_.empty() && try_to_send(message)) return;
  if (waiting_.empty())
    log::warning("The service manager does not read what it is told (NOTIFY_SOCKET)");
  else if (waiting_.back().is_status() && message.is_status())
    waiting_.pop_back();  // the new one says it better
  if (waiting_.size() < kMostWaiting) waiting_.push_back(std::move(message));
  retry_.arm_in(kRetryDelay);
}

void ServiceManager::send_waiting() {
  while (!waiting_.empty() && try_to_send(waiting_.front())) waiting_.pop_front();
  if (!waiting_.empty()) retry_.arm_in(kRetryDelay);
}

bool ServiceManager::flush(Clock::time_point deadline) {
  for (;;) {
    send_waiting();
    if (waiting_.empty()) return true;
    if (!wait_for(notifier_.fd(), POLLOUT, deadline)) return false;
  }
}

/// The manager closes the pipe when it comes to the message, and so after all before it.
bool ServiceManager::barrier(Clock::time_point deadline) {
  int ends[2];
  if (!flush(deadline) || ::pipe2(ends, O_CLOEXEC) != 0) return false;
  const UniqueFd reader = UniqueFd::adopt(ends[0]);
  waiting_.push_back({"BARRIER=1", UniqueFd::adopt(ends[1])});
  return flush(deadline) && wait_for(reader.get(), 0, deadline);
}

/// A third, as for workers: one that is late does no harm yet.
void ServiceManager::send_heartbeat() {
  notifier_.send("WATCHDOG=1");
  heartbeat_.arm_in(std::max<Clock::duration>(watchdog_ / 3, kShortestHeartbeat));
}

}  // namespace serverd
