#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace serverd::test {

using Seconds = std::chrono::seconds;

/// One of our programs or a tool, started as a user would. Ended by SIGKILL at destruction if it
/// still runs.
class Program final {
 public:
  struct Options {
    std::string directory;               ///< working directory; empty: ours
    std::vector<std::string> variables;  ///< "NAME=value", added
    std::string input;                   ///< file for standard input; empty: /dev/null
    std::vector<std::pair<std::string, int>> descriptors{};  ///< LISTEN_FDNAMES, and borrowed
  };

  Program(std::vector<std::string> arguments, const Options& options);
  explicit Program(std::vector<std::string> arguments) : Program(std::move(arguments), Options{}) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program();

  pid_t pid() const noexcept { return pid_; }
  void signal(int signal) const;
  bool running();
  /// Exit code; 128 + n after signal n. Empty if it still runs at the deadline.
  std::optional<int> wait(std::chrono::milliseconds at_most = Seconds(20));

  std::string out() const;
  std::string err() const;
  /// Until `text` stands in standard error `times` times; false at the deadline or when it ended.
  bool wait_for_err(const std::string& text, int times = 1,
                    std::chrono::milliseconds at_most = Seconds(20));

 private:
  std::string out_path_;
  std::string err_path_;
  pid_t pid_ = -1;
  std::optional<int> status_;
};

/// Polls `condition` every few milliseconds; false if it does not hold within `at_most`.
template <typename Condition>
bool eventually(Condition condition, std::chrono::milliseconds at_most = Seconds(20));

/// build/bin/NAME
std::string built(const std::string& name);

/// Of a finished run.
struct Finished {
  int code;
  std::string out;
  std::string err;
};
Finished run_program(std::vector<std::string> arguments, const Program::Options& options = {});

}  // namespace serverd::test

#include <thread>

template <typename Condition>
bool serverd::test::eventually(Condition condition, std::chrono::milliseconds at_most) {
  const auto deadline = std::chrono::steady_clock::now() + at_most;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  return true;
}
