#include "common/log.h"

#include "common/journal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <string>

#include <poll.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

namespace serverd::log {
namespace {

struct LevelNames {
  int priority;
  const char* label;
};

constexpr std::array<LevelNames, 4> kLevels = {
    {{LOG_DEBUG, "debug"}, {LOG_INFO, "info"}, {LOG_WARNING, "warning"}, {LOG_ERR, "error"}}};

/// systemd.exec(5): JOURNAL_STREAM is "device:inode" of the journal's end of stderr.
bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat status {};
  return stream != nullptr && ::fstat(STDERR_FILENO, &status) == 0 &&
         fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

struct State {
  Level minimum = Level::kInfo;
  Target target = stderr_is_journal() ? Target::kPrefixed : Target::kStderr;
  unsigned long dropped = 0;
};

State& state() {
  static State instance;
  return instance;
}

std::string timestamp() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm local{};
  ::localtime_r(&now.tv_sec, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return fmt::format("{}.{:03}", text, now.tv_nsec / 1'000'000);
}

std::string line(Level level, std::string_view text) {
  const LevelNames& names = kLevels[static_cast<std::size_t>(level)];
  std::string result = state().target == Target::kPrefixed
                           ? fmt::format("<{}>{}", names.priority, text)
                           : fmt::format("{} {}: {}", timestamp(), names.label, text);
  std::replace(result.begin(), result.end(), '\n', ' ');
  std::replace(result.begin(), result.end(), '\r', ' ');
  result += '\n';
  return result;
}

/// A pipe that polls writable takes PIPE_BUF bytes without blocking; longer lines are cut.
bool write_without_blocking(std::string text) {
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) return false;
  if (text.size() > PIPE_BUF) text.replace(PIPE_BUF - 4, std::string::npos, "...\n");
  ssize_t written = 0;
  do {
    written = ::write(STDERR_FILENO, text.data(), text.size());
  } while (written < 0 && errno == EINTR);
  return written == static_cast<ssize_t>(text.size());
}

}  // namespace

void configure(Level minimum, Target target) {
  if (target == Target::kAuto) target = stderr_is_journal() ? Target::kPrefixed : Target::kStderr;
  state().minimum = minimum;
  state().target = target;
}

bool enabled(Level level) noexcept { return level >= state().minimum; }

void write(Level level, std::string_view text) {
  if (!enabled(level)) return;
  if (state().target == Target::kJournal) {
    send_to_journal(kLevels[static_cast<std::size_t>(level)].priority, text);
    return;
  }
  if (state().dropped > 0) {
    const auto notice =
        fmt::format("{} log lines dropped: stderr is not being read", state().dropped);
    if (!write_without_blocking(line(Level::kWarning, notice))) {
      ++state().dropped;
      return;
    }
    state().dropped = 0;
  }
  if (!write_without_blocking(line(level, text))) ++state().dropped;
}

}  // namespace serverd::log
