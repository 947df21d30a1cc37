#include "worker/sandbox/refusal.h"

#include "common/log.h"
#include "common/os/error.h"
#include "worker/sandbox/syscall_filter.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <string_view>
#include <vector>

#include <poll.h>
#include <unistd.h>

namespace serverd {
namespace {

/// What the handler reads. It may allocate nothing, so everything is there before.
struct Prepared {
  std::string beginning;
  std::vector<std::string> names;
};
Prepared prepared;

/// A line of limited length, made without allocation.
class Line final {
 public:
  void add(std::string_view text) noexcept {
    const std::size_t n = std::min(text.size(), sizeof text_ - size_);
    std::memcpy(text_ + size_, text.data(), n);
    size_ += n;
  }
  void add(int number) noexcept {
    char digits[16];
    add({digits, static_cast<std::size_t>(
                     std::to_chars(digits, digits + sizeof digits, number).ptr - digits)});
  }
  /// Does not wait for a reader, as the log does not.
  void write_to_stderr() const noexcept {
    pollfd ready{STDERR_FILENO, POLLOUT, 0};
    if (::poll(&ready, 1, 0) != 1) return;
    static_cast<void>(!::write(STDERR_FILENO, text_, size_));
  }

 private:
  char text_[512];
  std::size_t size_ = 0;
};

/// Async-signal-safe calls only; all of them are allowed. The handler is called once: then the
/// signal has its default effect again.
void on_refused(int signal, siginfo_t* info, void*) {
  const int number = info->si_syscall;
  const bool known = number >= 0 && static_cast<std::size_t>(number) < prepared.names.size();
  Line line;
  line.add(prepared.beginning);
  line.add(known ? std::string_view(prepared.names[static_cast<std::size_t>(number)]) : "?");
  line.add(", number ");
  line.add(number);
  line.add("; this worker ends\n");
  line.write_to_stderr();
  ::raise(signal);
}

}  // namespace

void report_refused_calls(const std::string& who) {
  prepared.names = syscall_names();
  prepared.beginning =
      std::string(log::untimed_error_prefix()) + who + ": the sandbox has refused the system call ";
  struct sigaction action {};
  action.sa_sigaction = on_refused;
  action.sa_flags = SA_SIGINFO | static_cast<int>(SA_RESETHAND) | SA_NODEFER;
  check_call(::sigaction(SIGSYS, &action, nullptr), "sigaction");
}

}  // namespace serverd
