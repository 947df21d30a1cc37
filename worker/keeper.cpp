#include "worker/keeper.h"

#include "common/log.h"
#include "common/os/error.h"
#include "common/parcel.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace serverd {
namespace {

// From here to `keep`: what the keeper process runs. It is a copy of the worker at some moment,
// so: async-signal-safe calls only, no allocation, no log.

int option_of(int fd, int name) noexcept {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

bool is_connection(int fd) noexcept {
  return option_of(fd, SO_PROTOCOL) == IPPROTO_TCP && option_of(fd, SO_ACCEPTCONN) == 0;
}

void put_patiently(int entrance, const int* descriptors, std::size_t count) noexcept {
  const timespec pause{0, 2'000'000};
  for (;;) {
    const int error = put_into_parcel(entrance, {descriptors, count});
    const bool passes = error == ETOOMANYREFS || error == EAGAIN || error == EINTR ||
                        error == ENOBUFS || error == ENOMEM;
    if (!passes) return;
    ::nanosleep(&pause, nullptr);  // whoever limits us sets the deadline
  }
}

/// The number behind "FDSize:" in proc(5), which is at least one more than the highest descriptor;
/// 0 if it cannot be read.
int descriptor_table_size() noexcept {
  const int fd = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[4096];
  const ssize_t n = ::read(fd, text, sizeof text);
  ::close(fd);
  constexpr std::string_view kField = "\nFDSize:\t";
  const std::string_view status(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  const std::size_t found = status.find(kField);
  if (found == std::string_view::npos) return 0;
  int size = 0;
  std::from_chars(status.data() + found + kField.size(), status.data() + status.size(), size);
  return size;
}

/// The descriptor limit may be a thousand times what is open. When every number below it is taken,
/// /proc cannot be opened, and then the limit is right.
int end_of_descriptors() noexcept {
  if (const int size = descriptor_table_size(); size > 0) return size;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(limit.rlim_cur);
}

void park_connections(int entrance) noexcept {
  int batch[kParcelMessageSize];
  std::size_t count = 0;
  for (int fd = 3, end = end_of_descriptors(); fd < end; ++fd) {
    if (!is_connection(fd)) continue;
    batch[count++] = fd;
    if (count == kParcelMessageSize) put_patiently(entrance, batch, std::exchange(count, 0));
  }
  if (count > 0) put_patiently(entrance, batch, count);
}

/// ps(1) shows what the worker is called; the names are of one length.
void rename_process() noexcept {
  constexpr char kWorker[] = "stream-worker";
  constexpr char kKeeper[] = "stream-keeper";
  if (std::strncmp(program_invocation_name, kWorker, sizeof kWorker - 1) == 0)
    std::memcpy(program_invocation_name, kKeeper, sizeof kKeeper - 1);
  ::prctl(PR_SET_NAME, kKeeper);
}

[[noreturn]] void keep(int worker_pidfd, int entrance) noexcept {
  ::prctl(PR_SET_PDEATHSIG, 0);
  rename_process();
  pollfd dead{worker_pidfd, POLLIN, 0};
  while (::poll(&dead, 1, -1) < 1) {
  }
  park_connections(entrance);
  ::_exit(0);
}

}  // namespace

Keeper::Keeper(UniqueFd entrance)
    : entrance_(std::move(entrance)),
      own_pidfd_(UniqueFd::adopt(static_cast<int>(
          check_call(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)), "pidfd_open")))) {
  start();
}

/// By a pidfd alone can it be ended: a sandbox that allows to signal any process by its number
/// would be none.
void Keeper::start() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  const auto pid = static_cast<pid_t>(
      ::syscall(SYS_clone, CLONE_FILES | CLONE_PIDFD | SIGCHLD, nullptr, &pidfd, nullptr, 0));
  if (pid == 0) keep(own_pidfd_.get(), entrance_.get());
  const int error = errno;
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw_system_error(error, "clone of the keeper");
  process_ = {pid, UniqueFd::adopt(pidfd)};
}

void Keeper::revive_if_dead() {
  const pid_t pid = process_.pid;
  if (pid == 0 || ::waitpid(pid, nullptr, WNOHANG) != pid) return;
  log::warning("The keeper process {} died; starting another", pid);
  start();
}

/// Should we be killed while there are two, the successor finds connections twice and closes one.
void Keeper::renew() {
  Process old = std::exchange(process_, {});
  try {
    start();
  } catch (const std::system_error& error) {
    log::warning("{}; the keeper {} stays", error.what(), old.pid);
    process_ = std::move(old);
    return;
  }
  end(old);
}

void Keeper::dismiss() noexcept { end(std::exchange(process_, {})); }

void Keeper::end(const Process& keeper) noexcept {
  if (keeper.pid == 0) return;
  ::syscall(SYS_pidfd_send_signal, keeper.pidfd.get(), SIGKILL, nullptr, 0);
  ::waitpid(keeper.pid, nullptr, 0);
}

}  // namespace serverd
