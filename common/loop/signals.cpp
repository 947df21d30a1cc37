#include "common/loop/signals.h"

#include "common/os/error.h"

#include <sys/signalfd.h>

namespace serverd {
namespace {

UniqueFd open_signalfd(std::initializer_list<int> signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  check_call(::sigprocmask(SIG_BLOCK, &set, nullptr), "sigprocmask");
  return UniqueFd::adopt(check_call(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"));
}

}  // namespace

Signals::Signals(Loop& loop, std::initializer_list<int> signals, Callback callback)
    : callback_(std::move(callback)),
      fd_(open_signalfd(signals)),
      watch_(loop, fd_.get(), POLLIN, [this](short) { receive(); }) {}

void Signals::receive() {
  signalfd_siginfo info{};
  while (::read(fd_.get(), &info, sizeof info) == sizeof info)
    callback_(static_cast<int>(info.ssi_signo));
}

void reset_signals_for_exec() noexcept {
  struct sigaction default_action {};
  default_action.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &default_action, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace serverd
