#include "client/chat/pipe_console.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>

#include <unistd.h>

namespace serverd::chat {

PipeConsole::PipeConsole(Loop& loop, int in)
    : loop_(loop), in_(in), watch_(loop, in, 0, [this](short) { read_more(); }) {}

std::optional<std::string> PipeConsole::next_line(const std::function<bool()>& give_up) {
  for (;;) {
    if (give_up()) return std::nullopt;
    if (auto line = take_line()) return line;
    if (ended_) return std::nullopt;
    watch_.want(POLLIN);
    loop_.run_once();
    watch_.want(0);
  }
}

/// A line that no command can be as long as is taken up to the limit, and refused by whoever gets
/// it.
std::optional<std::string> PipeConsole::take_line() {
  std::string unused;
  for (;;) {
    const tsam::Step step = tsam::next_command(held_, position_, ended_, unused);
    if (step.event == tsam::Event::kNeedMore) return std::nullopt;
    std::string line(step.text);
    held_.erase(0, step.consumed);
    position_ = step.next;
    if (step.event == tsam::Event::kCommand) return line;
    if (step.event == tsam::Event::kTooLong) return line + "…";
  }
}

void PipeConsole::read_more() {
  char buffer[16'384];
  const ssize_t got = ::read(in_, buffer, sizeof buffer);
  if (got > 0)
    held_.append(buffer, static_cast<std::size_t>(got));
  else if (got == 0 || (errno != EINTR && errno != EAGAIN))
    ended_ = true;
}

void PipeConsole::show(std::string_view line) {
  fmt::print(stdout, "{}\n", line);
  std::fflush(stdout);
}

}  // namespace serverd::chat
