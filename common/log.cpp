#include "common/log.h"

#include "common/journal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

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
  Subject subject;
  std::optional<Journal> journal;
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

bool send_to_journal(Level level, std::string_view text, const Subject& subject) {
  if (!state().journal) return false;
  const Subject& common = state().subject;
  const std::uint16_t port = subject.port != 0 ? subject.port : common.port;
  const std::string port_text = std::to_string(port);
  const std::string connection = std::to_string(subject.connection);
  const std::string& service = subject.service.empty() ? common.service : subject.service;
  std::vector<JournalField> fields;
  if (!service.empty()) fields.push_back({"SERVICE", service});
  if (port != 0) fields.push_back({"PORT", port_text});
  if (!subject.peer.empty()) fields.push_back({"PEER", subject.peer});
  if (subject.connection != 0) fields.push_back({"CONNECTION", connection});
  return state().journal->send(kLevels[static_cast<std::size_t>(level)].priority, text, fields);
}

bool put(Level level, std::string_view text, const Subject& subject) {
  return state().target == Target::kJournal ? send_to_journal(level, text, subject)
                                            : write_without_blocking(line(level, text));
}

}  // namespace

void configure(Level minimum, Target target) {
  if (target == Target::kAuto) target = stderr_is_journal() ? Target::kPrefixed : Target::kStderr;
  state().minimum = minimum;
  state().target = target;
  if (target != Target::kJournal || state().journal) return;
  try {
    state().journal.emplace();
  } catch (const std::system_error& failure) {
    state().target = Target::kStderr;
    error("{}; logging to standard error", failure.what());
  }
}

void set_subject(Subject subject) { state().subject = std::move(subject); }

bool enabled(Level level) noexcept { return level >= state().minimum; }

std::string_view untimed_error_prefix() noexcept {
  return state().target == Target::kPrefixed ? "<3>" : "error: ";
}

void write(Level level, std::string_view text, const Subject& subject) {
  if (!enabled(level)) return;
  if (state().dropped > 0) {
    const auto notice = fmt::format("{} log lines dropped: {} is not being read", state().dropped,
                                    state().target == Target::kJournal ? "the journal" : "stderr");
    if (!put(Level::kWarning, notice, {})) {
      ++state().dropped;
      return;
    }
    state().dropped = 0;
  }
  if (!put(level, text, subject)) ++state().dropped;
}

}  // namespace serverd::log
