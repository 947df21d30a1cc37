#include "worker/sandbox/policy.h"

#include "worker/sandbox/landlock.h"

#include <csignal>

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd {
namespace {

/// For arguments of type int: what stands above them in the register is not looked at.
constexpr std::uint64_t kInt = 0xFFFF'FFFF;
/// Stands for the number of the process that is restricted.
constexpr std::uint64_t kOwnPid = ~std::uint64_t{0};
/// SIOCGIWNAME of linux/wireless.h, which cannot be included beside the headers of sockets.
constexpr std::uint64_t kWirelessName = 0x8B01;
/// Neither memory that is executable, nor is it made so.
constexpr ArgumentRule kNotExecutable = {2, PROT_EXEC, 0};

constexpr SyscallRule with_int(const char* name, unsigned argument, std::uint64_t value) {
  return {name, {{{argument, kInt, value}}}};
}

constexpr SyscallRule socket_of(std::uint64_t family, std::uint64_t type) {
  constexpr std::uint64_t kType = kInt & ~std::uint64_t{SOCK_CLOEXEC | SOCK_NONBLOCK};
  return {"socket", {{{0, kInt, family}, {1, kType, type}}}};
}

constexpr SyscallRule kEveryWorker[] = {
    // The loop, and time.
    {"poll"},
    {"ppoll"},
    {"epoll_create1"},
    {"epoll_ctl"},
    {"epoll_wait"},
    {"epoll_pwait"},
    {"restart_syscall"},
    {"clock_gettime"},
    {"clock_getres"},
    {"clock_nanosleep"},
    {"gettimeofday"},
    {"nanosleep"},
    {"time"},
    // Connections. None is made here: socket, bind, listen and connect are missing.
    {"accept4"},
    {"recvfrom"},
    {"recvmsg"},
    {"sendto"},
    {"sendmsg"},
    {"getsockopt"},
    {"setsockopt"},
    {"getsockname"},
    {"getpeername"},
    {"shutdown"},
    // A parcel with duplicates of the connections, and no other kind of pair.
    {"socketpair",
     {{{0, kInt, AF_UNIX}, {1, kInt, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK}}}},
    with_int("ioctl", 1, FIONREAD),
    with_int("ioctl", 1, SIOCOUTQ),
    // Files; which ones is Landlock's matter.
    {"open"},
    {"openat"},
    {"close"},
    {"read"},
    {"write"},
    {"writev"},
    {"pread64"},
    {"pwrite64"},
    {"lseek"},
    {"ftruncate"},
    {"fsync"},
    {"fdatasync"},
    {"unlink"},
    {"unlinkat"},
    {"stat"},
    {"lstat"},
    {"fstat"},
    {"newfstatat"},
    {"statx"},
    with_int("fcntl", 1, F_GETFL),
    with_int("fcntl", 1, F_SETFL),
    with_int("fcntl", 1, F_GETFD),
    with_int("fcntl", 1, F_SETFD),
    // Memory.
    {"brk"},
    {"mmap", {{kNotExecutable}}},
    {"mprotect", {{kNotExecutable}}},
    {"mremap"},
    {"munmap"},
    {"madvise"},
    {"getrandom"},
    // The process itself, and its end.
    {"futex"},
    {"sched_yield"},
    {"getpid"},
    {"gettid"},
    {"getppid"},
    {"getuid"},
    {"geteuid"},
    {"getrusage"},
    {"getrlimit"},
    {"prlimit64", {{{0, kInt, 0}, {2, ~std::uint64_t{0}, 0}}}},
    {"sysinfo"},
    {"uname"},
    {"rt_sigaction"},
    {"rt_sigprocmask"},
    {"rt_sigreturn"},
    {"tgkill", {{{0, kInt, kOwnPid}}}},
    {"exit"},
    {"exit_group"},
    // The keeper: its making, what it does, and its end. Nothing else can be killed, since only a
    // child's pidfd is to be had.
    {"clone", {{{0, ~std::uint64_t{0}, CLONE_FILES | CLONE_PIDFD | SIGCHLD}}}},
    {"pidfd_open", {{{0, kInt, kOwnPid}}}},
    with_int("pidfd_send_signal", 1, SIGKILL),
    {"wait4"},
    with_int("prctl", 0, PR_SET_NAME),
    with_int("prctl", 0, PR_SET_PDEATHSIG),
};

#ifdef __SANITIZE_ADDRESS__
/// What AddressSanitizer and the search for leaks at exit do.
constexpr SyscallRule kSanitizers[] = {
    {"access"},
    {"arch_prctl"},
    {"clone"},
    {"getdents"},
    {"getdents64"},
    {"kill"},
    {"mmap"},
    {"mprotect"},
    {"pipe"},
    {"pipe2"},
    {"prctl"},
    {"process_vm_readv"},
    {"ptrace"},
    {"readlink"},
    {"readlinkat"},
    {"sigaltstack"},
    {"tgkill"},
    {"sched_getaffinity"},
    {"set_robust_list"},
};
#endif

/// SQLite, beside connections to other servers.
constexpr SyscallRule kChat[] = {
    socket_of(AF_INET, SOCK_STREAM),
    socket_of(AF_INET6, SOCK_STREAM),
    {"connect"},
    {"access"},
    {"faccessat"},
    {"faccessat2"},
    {"fchmod"},
    {"fchown"},
    with_int("fcntl", 1, F_GETLK),
    with_int("fcntl", 1, F_SETLK),
    with_int("fcntl", 1, F_SETLKW),
};

/// Interfaces and captures: netlink, packet sockets and, for questions about an interface, sockets
/// of any kind that takes its ioctl(2)s. None of them can be a TCP connection.
constexpr SyscallRule kPackets[] = {
    with_int("socket", 0, AF_NETLINK),
    with_int("socket", 0, AF_PACKET),
    socket_of(AF_INET, SOCK_DGRAM),
    socket_of(AF_INET6, SOCK_DGRAM),
    socket_of(AF_UNIX, SOCK_DGRAM),
    socket_of(AF_UNIX, SOCK_RAW),
    {"bind"},
    {"connect"},  // getaddrinfo(3) asks so how an address would be reached
    {"access"},
    {"eventfd2"},
    {"getdents"},
    {"getdents64"},
    {"getegid"},
    {"getgid"},
    {"pselect6"},
    {"readlink"},
    {"readlinkat"},
    {"recvmmsg"},
    {"select"},
    {"faccessat"},
    {"faccessat2"},
    with_int("ioctl", 1, FIONBIO),
    with_int("ioctl", 1, SIOCETHTOOL),
    with_int("ioctl", 1, SIOCGIFADDR),
    with_int("ioctl", 1, SIOCGIFCONF),
    with_int("ioctl", 1, SIOCGIFFLAGS),
    with_int("ioctl", 1, SIOCGIFHWADDR),
    with_int("ioctl", 1, SIOCGIFINDEX),
    with_int("ioctl", 1, SIOCGIFMTU),
    with_int("ioctl", 1, SIOCGIFNAME),
    with_int("ioctl", 1, SIOCGIFNETMASK),
    with_int("ioctl", 1, SIOCGSTAMP),
    with_int("ioctl", 1, SIOCGSTAMPNS),
    with_int("ioctl", 1, kWirelessName),
};

/// Names in filters are looked up in files.
constexpr const char* kPacketsReads[] = {
    "/sys",           "/etc/ethers",        "/etc/hosts",    "/etc/host.conf", "/etc/networks",
    "/etc/protocols", "/etc/nsswitch.conf", "/etc/services", "/etc/gai.conf",  "/etc/resolv.conf"};

constexpr const char* kChatReads[] = {"/dev/urandom"};
/// The size of the keeper's table of descriptors stands there.
constexpr const char* kCommonReads[] = {"/proc"};

using landlock::kList;
using landlock::kRead;
using landlock::kRemove;
using landlock::kWrite;

const SandboxPolicy kPolicies[] = {
    {.protocol = "stream", .output = kWrite},
    {.protocol = "accio", .output = kWrite | kRemove},
    {.protocol = "monitor"},
    {.protocol = "chat",
     .calls = kChat,
     .output = kRead | kList | kWrite | kRemove,
     .reads = kChatReads,
     .connects = true},
    {.protocol = "packets", .calls = kPackets, .reads = kPacketsReads, .capability = CAP_NET_RAW},
};
const SandboxPolicy kNothingMore;

}  // namespace

const SandboxPolicy& sandbox_policy(std::string_view protocol) noexcept {
  for (const SandboxPolicy& policy : kPolicies)
    if (policy.protocol == protocol) return policy;
  return kNothingMore;
}

std::vector<SyscallRule> allowed_calls(const SandboxPolicy& policy) {
  std::vector<SyscallRule> rules(std::begin(kEveryWorker), std::end(kEveryWorker));
#ifdef __SANITIZE_ADDRESS__
  rules.insert(rules.end(), std::begin(kSanitizers), std::end(kSanitizers));
#endif
  rules.insert(rules.end(), policy.calls.begin(), policy.calls.end());
  for (SyscallRule& rule : rules)
    for (ArgumentRule& argument : rule.arguments)
      if (argument.value == kOwnPid) argument.value = static_cast<std::uint64_t>(::getpid());
  return rules;
}

std::span<const char* const> common_reads() noexcept { return kCommonReads; }

}  // namespace serverd
