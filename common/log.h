#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

/// The process's log: lines to stderr, or to the journal. Never blocks: a line that its reader has
/// no room for is dropped, and the next line that gets through is preceded by the count.
namespace serverd::log {

enum class Level { kDebug, kInfo, kWarning, kError };

enum class Target {
  kAuto,      ///< kPrefixed when stderr is the journal's stream (JOURNAL_STREAM), else kStderr
  kStderr,    ///< "2026-11-20 21:20:05.123 warning: text"
  kPrefixed,  ///< "<4>text" for a service manager that reads stderr, see sd-daemon(3)
  kJournal,   ///< the journal itself, with the fields of a Subject
};

/// What an event is about. The journal gets it as SERVICE=, PORT=, PEER= and CONNECTION=, without
/// those that are empty or 0; elsewhere the text says it.
struct Subject {
  std::string service = {};
  std::uint16_t port = 0;
  std::string peer = {};         ///< address and port
  std::uint64_t connection = 0;  ///< its number
};

/// Before `configure`: info and above, kAuto.
void configure(Level minimum, Target target);
/// What every event is about from now on, unless it says otherwise.
void set_subject(Subject subject);

/// One line; line ends inside `text` are written as spaces.
void write(Level level, std::string_view text, const Subject& subject = {});
bool enabled(Level level) noexcept;
/// What begins a line that is written to stderr by other means, which may know no time.
std::string_view untimed_error_prefix() noexcept;

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
template <typename... Args>
void debug(const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug))
    write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...), subject);
}
template <typename... Args>
void info(const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo))
    write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...), subject);
}
template <typename... Args>
void warning(const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...), subject);
}
template <typename... Args>
void error(const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, fmt::format(format, std::forward<Args>(args)...), subject);
}

}  // namespace serverd::log
