#include "supervisor/spawn.h"

#include "common/loop/signals.h"
#include "common/os/error.h"
#include "common/os/unique_fd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BOOST_PROCESS_USE_STD_FS 1
#include <boost/process/child.hpp>
#include <boost/process/error.hpp>
#include <boost/process/exe.hpp>
#include <boost/process/extend.hpp>

#include <linux/close_range.h>

namespace serverd {
namespace {

constexpr int kFirst = 3;  // SD_LISTEN_FDS_START
constexpr int kAboveHandoff = kFirst + kMaxHandedDescriptors;

/// Variables that speak to us and not to the worker.
constexpr std::array<std::string_view, 8> kOwnVariables = {
    "LISTEN_PID=",    "LISTEN_FDS=",   "LISTEN_FDNAMES=", "NOTIFY_SOCKET=",
    "WATCHDOG_USEC=", "WATCHDOG_PID=", "MAINPID=",        "FDSTORE="};

bool is_own_variable(std::string_view variable) {
  return std::any_of(kOwnVariables.begin(), kOwnVariables.end(),
                     [&](std::string_view name) { return variable.starts_with(name); });
}

std::vector<std::string> worker_environment(const SpawnRequest& request) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!is_own_variable(*variable)) variables.emplace_back(*variable);
  variables.insert(variables.end(), request.variables.begin(), request.variables.end());
  std::string names = "LISTEN_FDNAMES=";
  for (const HandedFd& item : request.descriptors)
    names += (&item == request.descriptors.data() ? "" : ":") + item.name;
  variables.push_back(std::move(names));
  variables.push_back("LISTEN_FDS=" + std::to_string(request.descriptors.size()));
  return variables;
}

/// What happens in the child between fork and exec. Everything is prepared before the fork: only
/// async-signal-safe calls, no allocation.
class ChildSetup final : public boost::process::extend::handler {
 public:
  explicit ChildSetup(const SpawnRequest& request)
      : request_(request), environment_(worker_environment(request)), parent_(::getpid()) {
    title_ = request.title;
    arguments_ = request.arguments;
    argv_ = {title_.data()};
    for (std::string& argument : arguments_) argv_.push_back(argument.data());
    argv_.push_back(nullptr);
    for (std::string& variable : environment_) envp_.push_back(variable.data());
    envp_.push_back(listen_pid_.data());
    envp_.push_back(nullptr);
    null_ =
        UniqueFd::adopt(check_call(::open("/dev/null", O_RDONLY | O_CLOEXEC), "open /dev/null"));
    for (const HandedFd& item : request.descriptors)
      high_.push_back(UniqueFd::adopt(
          check_call(::fcntl(item.fd, F_DUPFD_CLOEXEC, kAboveHandoff), "dup of " + item.name)));
  }

  template <class Executor>
  void on_exec_setup(Executor& executor) const {
    auto& self = const_cast<ChildSetup&>(*this);  // Boost hands the handler over as const
    if (const char* failed = self.prepare()) {
      executor.set_error(std::error_code(errno, std::system_category()), failed);
      ::_exit(127);
    }
    executor.cmd_line = self.argv_.data();
    executor.env = self.envp_.data();
  }

 private:
  /// Null, or the call that failed.
  const char* prepare() noexcept {
    if (::setpgid(0, 0) != 0) return "setpgid";
    if (::dup2(null_.get(), STDIN_FILENO) < 0) return "dup2 of standard input";
    int target = kFirst;
    for (const UniqueFd& fd : high_)
      if (::dup2(fd.get(), target++) < 0) return "dup2";
    if (::syscall(SYS_close_range, target, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return "close_range";
    if (const char* failed = change_user()) return failed;
    // After the change of user, which would clear it; and the parent may be gone already.
    if (::prctl(PR_SET_PDEATHSIG, SIGHUP) != 0) return "PR_SET_PDEATHSIG";
    if (::getppid() != parent_) ::_exit(0);
    reset_signals_for_exec();
    char* end = listen_pid_.data() + std::strlen("LISTEN_PID=");
    *std::to_chars(end, listen_pid_.data() + listen_pid_.size() - 1, ::getpid()).ptr = '\0';
    return nullptr;
  }

  const char* change_user() const noexcept {
    if (!request_.user) return limit_capabilities();
    const UserIds& user = *request_.user;
    if (request_.net_raw && ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return "PR_SET_KEEPCAPS";
    if (::setgroups(user.groups.size(), user.groups.data()) != 0) return "setgroups";
    if (::setresgid(user.gid, user.gid, user.gid) != 0) return "setresgid";
    if (::setresuid(user.uid, user.uid, user.uid) != 0) return "setresuid";
    return limit_capabilities();
  }

  /// capabilities(7): only ambient ones survive exec(2) of a program without any of its own, and
  /// only those that are inheritable can be ambient.
  const char* limit_capabilities() const noexcept {
    if (::geteuid() == 0) return nullptr;
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
      return "PR_CAP_AMBIENT_CLEAR_ALL";
    if (!request_.net_raw) return nullptr;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    if (::syscall(SYS_capget, &header, sets.data()) != 0) return "capget";
    constexpr unsigned kNetRaw = 1U << CAP_NET_RAW;
    if ((sets[0].permitted & kNetRaw) == 0) return nullptr;  // a capture will say so
    sets = {};
    sets[0].effective = sets[0].permitted = sets[0].inheritable = kNetRaw;
    if (::syscall(SYS_capset, &header, sets.data()) != 0) return "capset";
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) != 0)
      return "PR_CAP_AMBIENT_RAISE";
    return nullptr;
  }

  const SpawnRequest& request_;
  std::string title_;
  std::vector<std::string> arguments_;
  std::vector<char*> argv_;
  std::vector<std::string> environment_;
  std::vector<char*> envp_;
  std::array<char, 32> listen_pid_ = {"LISTEN_PID="};
  pid_t parent_;
  UniqueFd null_;
  std::vector<UniqueFd> high_;
};

}  // namespace

void reserve_handoff_numbers() {
  for (;;) {
    const int fd = check_call(::open("/dev/null", O_RDWR | O_CLOEXEC), "open /dev/null");
    // Where we were started without standard descriptors workers inherit these, or the first file
    // that one of them opens would be its standard error.
    if (fd <= STDERR_FILENO) check_call(::fcntl(fd, F_SETFD, 0), "F_SETFD on /dev/null");
    if (fd < kAboveHandoff) continue;  // stays open for good
    ::close(fd);
    return;
  }
}

pid_t spawn(const SpawnRequest& request) {
  if (request.descriptors.size() > kMaxHandedDescriptors)
    throw_system_error(
        E2BIG, "hand-over of " + std::to_string(request.descriptors.size()) + " descriptors");
  const ChildSetup setup(request);
  std::error_code error;
  const std::string program = "/proc/self/fd/" + std::to_string(request.executable);
  boost::process::child child(boost::process::exe = program, error, setup);
  if (error) throw std::system_error(error, "start of " + request.title);
  const pid_t pid = child.id();
  child.detach();
  return pid;
}

}  // namespace serverd
