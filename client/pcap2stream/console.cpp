#include "client/pcap2stream/console.h"

#include <fmt/format.h>

#include <cstdio>

#include <unistd.h>

namespace serverd::pcap2stream {

Console::Console() : terminal_(::isatty(STDERR_FILENO) == 1) {}

Console::~Console() { clear_progress(); }

void Console::result(std::string_view line) {
  clear_progress();
  fmt::print(stdout, "{}\n", line);
  std::fflush(stdout);
}

void Console::remark(std::string_view line) {
  clear_progress();
  fmt::print(stderr, "{}\n", line);
}

void Console::progress(std::string_view text) {
  if (!terminal_) return;
  fmt::print(stderr, "\r{}\033[K", text);
  progress_shown_ = true;
}

void Console::clear_progress() {
  if (progress_shown_) fmt::print(stderr, "\r\033[K");
  progress_shown_ = false;
}

}  // namespace serverd::pcap2stream
