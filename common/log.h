#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

/// The process's log: lines to stderr, or to the journal. Never blocks: a line that the reader of a
/// pipe has no room for is dropped, and the next line that gets through is preceded by the count.
namespace serverd::log {

enum class Level { kDebug, kInfo, kWarning, kError };

enum class Target {
  kAuto,      ///< kPrefixed when stderr is the journal's stream (JOURNAL_STREAM), else kStderr
  kStderr,    ///< "2026-11-20 21:20:05.123 warning: text"
  kPrefixed,  ///< "<4>text" for a service manager that reads stderr, see sd-daemon(3)
  kJournal,   ///< sd_journal_send(3)
};

/// Before `configure`: info and above, kAuto.
void configure(Level minimum, Target target);

/// One line; line ends inside `text` are written as spaces.
void write(Level level, std::string_view text);
bool enabled(Level level) noexcept;

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug))
    write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace serverd::log
