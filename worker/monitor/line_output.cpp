#include "worker/monitor/line_output.h"

#include "common/log.h"
#include "common/os/error.h"

#include <fmt/format.h>

#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {

LineOutput::LineOutput(int fd) : fd_(fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) return;
  // Not blocking, which must not be set on the descriptor that we share with others: pipe(7).
  own_ = UniqueFd::adopt(::open(fmt::format("/proc/self/fd/{}", fd).c_str(),
                                O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (own_) fd_ = own_.get();
}

bool LineOutput::write(std::string_view text) noexcept { return flush() && write_once(text); }

void LineOutput::write_later(std::string_view text) {
  waiting_ += text;
  flush();
}

bool LineOutput::flush() noexcept {
  while (!waiting_.empty()) {
    // Whole lines, as far as they fit.
    std::size_t size = waiting_.size();
    if (size > kMostAtOnce) {
      const std::size_t end = waiting_.rfind('\n', kMostAtOnce - 1);
      size = end == std::string::npos ? kMostAtOnce : end + 1;
    }
    if (!write_once(std::string_view(waiting_).substr(0, size))) return false;
    waiting_.erase(0, size);
  }
  return true;
}

bool LineOutput::write_once(std::string_view text) noexcept {
  pollfd ready{fd_, POLLOUT, 0};
  if (::poll(&ready, 1, 0) != 1) return false;  // an error, writing says which
  ssize_t written = 0;
  while (!text.empty()) {
    written = ::write(fd_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) return false;  // another writer was faster
    if (written < 0) break;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  const int error = written < 0 ? errno : 0;
  if (error != 0 && !failing_)
    log::error("standard output: {}; what arrives waits until it can be shown", error_text(error));
  failing_ = error != 0;
  return error == 0;
}

}  // namespace serverd
