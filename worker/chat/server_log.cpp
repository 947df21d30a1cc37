#include "worker/chat/server_log.h"

#include "common/log.h"
#include "common/os/error.h"
#include "common/printable.h"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

namespace serverd::chat {

void ServerLog::add(std::time_t now, std::string_view who, std::string_view what) {
  if (now != stamped_) {
    std::tm local{};
    ::localtime_r(&now, &local);
    char text[32];
    stamp_.assign(text, std::strftime(text, sizeof text, "[%Y-%m-%d %H:%M:%S] ", &local));
    stamped_ = now;
  }
  lines_.append(stamp_).append(who).append(": ");
  if (is_plain(what))
    lines_.append(what);
  else
    lines_.append(printable(what));
  lines_ += '\n';
}

void ServerLog::flush() noexcept {
  if (lines_.empty()) return;
  if (!fd_)
    fd_ = UniqueFd::adopt(
        ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644));
  const ssize_t n = fd_ ? ::write(fd_.get(), lines_.data(), lines_.size()) : -1;
  const int error = n < 0 ? errno : ENOSPC;
  const bool failed = n != static_cast<ssize_t>(lines_.size());
  if (failed && !failing_) log::error("{}: {}; lines are left out", path_, error_text(error));
  if (!failed && failing_) log::info("{}: lines can be written again", path_);
  failing_ = failed;
  lines_.clear();
}

}  // namespace serverd::chat
