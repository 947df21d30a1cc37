/// What spawn_test starts in place of a worker: writes what it was given as "KEY VALUE" lines into
/// the descriptor that was handed over last, then ends, or waits if SHOW_HANDOFF_WAIT is set.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

namespace {

std::string report;

void add(const std::string& key, const std::string& value) { report += key + " " + value + "\n"; }

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "unset" : value;
}

std::string target_of(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  char target[PATH_MAX] = {};
  return ::readlink(link.c_str(), target, sizeof target - 1) < 0 ? "?" : target;
}

/// "fd 3 socket:[123] inherit"
void add_descriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return;
  for (const dirent* entry = ::readdir(directory); entry != nullptr; entry = ::readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd == ::dirfd(directory)) continue;
    const bool cloexec = (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
    add("fd" + std::to_string(fd), target_of(fd) + (cloexec ? " cloexec" : " inherit"));
  }
  ::closedir(directory);
}

std::string blocked_signals() {
  sigset_t mask;
  ::sigprocmask(SIG_SETMASK, nullptr, &mask);
  std::string numbers;
  for (int signal = 1; signal < NSIG; ++signal)
    if (::sigismember(&mask, signal) == 1) numbers += " " + std::to_string(signal);
  return numbers.empty() ? "none" : numbers.substr(1);
}

std::string groups() {
  gid_t list[64];
  const int count = ::getgroups(64, list);
  std::string text;
  for (int i = 0; i < count; ++i) text += " " + std::to_string(list[i]);
  return text.empty() ? "none" : text.substr(1);
}

/// CapEff and the other sets, in one.
std::string capabilities() {
  std::ifstream status("/proc/self/status");
  std::string text;
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("Cap") && !line.starts_with("CapBnd"))
      text += line.substr(3, 4) + std::to_string(std::stoull(line.substr(8), nullptr, 16)) + " ";
  return text;
}

}  // namespace

int main(int, char** argv) {
  add_descriptors();
  add("argv0", argv[0]);
  add("pid", std::to_string(::getpid()));
  add("pgid", std::to_string(::getpgid(0)));
  add("uid", std::to_string(::getuid()));
  add("gid", std::to_string(::getgid()));
  add("groups", groups());
  add("capabilities", capabilities());
  add("blocked", blocked_signals());
  struct sigaction action {};
  ::sigaction(SIGPIPE, nullptr, &action);
  add("sigpipe", action.sa_handler == SIG_DFL ? "default" : "changed");
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET",
                           "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID", "SHOW_HANDOFF_KEPT"})
    add(name, variable(name));
  const int last = 2 + std::atoi(variable("LISTEN_FDS").c_str());
  if (::write(last, report.data(), report.size()) != static_cast<ssize_t>(report.size())) return 1;
  while (variable("SHOW_HANDOFF_WAIT") != "unset") ::pause();
  return 0;
}
