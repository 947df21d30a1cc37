#pragma once

#include "common/os/error.h"
#include "common/os/unique_fd.h"

#include <cstring>
#include <exception>
#include <string>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace serverd::test {

/// Runs `body` in a forked child, for what would spoil the test process. Gives the text that it
/// returned, "exception: …", or how the child died.
template <typename Body>
std::string in_child(Body body) {
  int ends[2];
  check_call(::pipe2(ends, O_CLOEXEC), "pipe2");
  UniqueFd reader = UniqueFd::adopt(ends[0]);
  UniqueFd writer = UniqueFd::adopt(ends[1]);
  const pid_t child = check_call(::fork(), "fork");
  if (child == 0) {
    std::string text;
    // Out of the way of bodies that arrange descriptors from 3 on.
    const int report = ::fcntl(writer.get(), F_DUPFD_CLOEXEC, 500);
    try {
      text = body();
    } catch (const std::exception& error) {
      text = std::string("exception: ") + error.what();
    }
    const ssize_t written = ::write(report, text.data(), text.size());
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  writer.reset();
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(reader.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return std::string("died: ") + ::strsignal(WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) return "exit code " + std::to_string(WEXITSTATUS(status)) + text;
  return text;
}

}  // namespace serverd::test
