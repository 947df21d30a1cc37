// What a worker that was taken over could try, from inside the sandbox of each protocol.
#include "worker/sandbox/sandbox.h"

#include "common/os/error.h"
#include "common/os/unique_fd.h"
#include "common/parcel.h"
#include "tests/support/in_child.h"
#include "tests/support/missing_syscall.h"
#include "tests/support/temp_dir.h"
#include "worker/keeper.h"
#include "worker/sandbox/landlock.h"
#include "worker/sandbox/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace serverd {
namespace {

using test::in_child;
using test::TempDir;

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;  // the sanitizer's own calls are allowed then
#else
constexpr bool kSanitized = false;
#endif

ServiceConfig service_of(const std::string& protocol, const std::string& output) {
  ServiceConfig service;
  service.name = "s";
  if (protocol == "stream") service.protocol = StreamConfig{output, false};
  if (protocol == "accio") service.protocol = AccioConfig{output};
  if (protocol == "monitor") service.protocol = MonitorConfig{};
  if (protocol == "chat") {
    ChatConfig chat;
    chat.output = output;
    service.protocol = chat;
  }
  if (protocol == "packets") service.protocol = PacketsConfig{};
  EXPECT_EQ(service.protocol_name(), protocol);
  return service;
}

constexpr const char* kRefusedBySystemCall = "died: Bad system call";

/// What a call gave: "done", or the text of its error.
std::string outcome(long result) { return result >= 0 ? "done" : error_text(errno); }

UniqueFd tcp_socket() {
  return UniqueFd::adopt(check_call(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

class InSandbox : public testing::TestWithParam<const char*> {
 protected:
  std::string protocol() const { return GetParam(); }
  std::string output() const { return dir_ / "output"; }
  /// A file outside, with content.
  std::string outside() const { return dir_ / "outside"; }

  void SetUp() override {
    std::filesystem::create_directory(output());
    std::ofstream(outside()) << "precious";
    std::ofstream(output() + "/earlier") << "earlier";
  }

  void enter() const {
    Sandbox::enter(service_of(protocol(), output()), SandboxMode::kRequired, "Port 5000");
  }

  std::string tries(const std::function<long()>& call) const {
    return in_child([&] {
      ::dup2(null_.get(), STDERR_FILENO);  // it would be many lines
      enter();
      return outcome(call());
    });
  }
  std::string calls(long number, long a = 0, long b = 0, long c = 0, long d = 0) const {
    return tries([=] { return ::syscall(number, a, b, c, d); });
  }

  TempDir dir_;
  UniqueFd null_ = UniqueFd::adopt(::open("/dev/null", O_WRONLY | O_CLOEXEC));
};

INSTANTIATE_TEST_SUITE_P(Protocols, InSandbox,
                         testing::Values("stream", "accio", "monitor", "chat", "packets"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST_P(InSandbox, NoProgramIsStarted) {
  EXPECT_EQ(tries([] { return ::execl("/bin/true", "true", nullptr); }), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_execveat, AT_FDCWD), kRefusedBySystemCall);
  if (kSanitized) return;
  EXPECT_EQ(tries([] { return ::fork(); }), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_clone, SIGCHLD), kRefusedBySystemCall);
}

TEST_P(InSandbox, NoMemoryBecomesExecutable) {
  if (kSanitized) return;
  EXPECT_EQ(calls(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS),
            kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_mprotect, 0, 4096, PROT_READ | PROT_EXEC), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_memfd_create), kRefusedBySystemCall);
}

TEST_P(InSandbox, NothingOutsideIsWritten) {
  const std::string denied = error_text(EACCES);
  const auto opens = [&](const std::string& path, int flags) {
    return tries([&, path, flags] { return ::open(path.c_str(), flags | O_CLOEXEC, 0600); });
  };
  EXPECT_EQ(opens(outside(), O_WRONLY), denied);
  EXPECT_EQ(opens(outside(), O_RDWR | O_APPEND), denied);
  EXPECT_EQ(opens(outside(), O_WRONLY | O_TRUNC), denied);
  EXPECT_EQ(opens(dir_ / "new", O_WRONLY | O_CREAT), denied);
  EXPECT_EQ(opens("/tmp", O_RDWR | O_TMPFILE), denied);
  EXPECT_EQ(opens("/dev/null", O_WRONLY), denied);
  EXPECT_EQ(opens("/proc/self/mem", O_RDWR), denied);
  EXPECT_EQ(opens("/proc/sys/kernel/core_pattern", O_WRONLY), denied);
  EXPECT_EQ(opens(output() + "/../new", O_WRONLY | O_CREAT), denied);
  EXPECT_EQ(tries([&] { return ::unlink(outside().c_str()); }), denied);
  EXPECT_EQ(tries([&] { return ::truncate(outside().c_str(), 0); }), kRefusedBySystemCall);
  EXPECT_EQ(test::file_content(outside()), "precious");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "new"));
}

TEST_P(InSandbox, NoNameIsChanged) {
  const std::string name = output() + "/name";
  EXPECT_EQ(tries([&] { return ::rename(outside().c_str(), name.c_str()); }), kRefusedBySystemCall);
  EXPECT_EQ(tries([&] { return ::link(outside().c_str(), name.c_str()); }), kRefusedBySystemCall);
  EXPECT_EQ(tries([&] { return ::symlink("/", name.c_str()); }), kRefusedBySystemCall);
  EXPECT_EQ(tries([&] { return ::mkdir(name.c_str(), 0700); }), kRefusedBySystemCall);
  EXPECT_EQ(tries([&] { return ::mkfifo(name.c_str(), 0600); }), kRefusedBySystemCall);
  EXPECT_EQ(tries([&] { return ::chmod(outside().c_str(), 0777); }), kRefusedBySystemCall);
  EXPECT_EQ(tries([&] { return ::chown(outside().c_str(), 1, 1); }), kRefusedBySystemCall);
}

TEST_P(InSandbox, NothingOutsideIsRead) {
  if (kSanitized) return;
  const auto opens = [&](const std::string& path, int flags) {
    return tries([&, path, flags] { return ::open(path.c_str(), flags | O_CLOEXEC); });
  };
  EXPECT_EQ(opens(outside(), O_RDONLY), error_text(EACCES));
  EXPECT_EQ(opens("/etc/passwd", O_RDONLY), error_text(EACCES));
  EXPECT_EQ(opens("/", O_RDONLY | O_DIRECTORY), error_text(EACCES));
  // Whoever has such a descriptor can send signals by it.
  EXPECT_EQ(opens("/proc/" + std::to_string(::getpid()), O_RDONLY | O_DIRECTORY),
            error_text(EACCES));
  const std::string memory = "/proc/" + std::to_string(::getpid()) + "/mem";
  EXPECT_NE(opens(memory, O_RDONLY), "done");
}

TEST_P(InSandbox, TheOutputDirectoryIsOpenAsFarAsTheProtocolNeedsIt) {
  const std::string denied = error_text(EACCES);
  const bool writes = protocol() != "monitor" && protocol() != "packets";
  const bool removes = protocol() == "accio" || protocol() == "chat";
  const bool reads = protocol() == "chat" || kSanitized;
  const std::string earlier = output() + "/earlier";
  EXPECT_EQ(tries([&] {
              const int fd = ::open((output() + "/new").c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
              return fd < 0 || ::write(fd, "x", 1) != 1 ? -1 : ::ftruncate(fd, 0);
            }),
            writes ? "done" : denied);
  EXPECT_EQ(tries([&] { return ::open(earlier.c_str(), O_RDONLY); }), reads ? "done" : denied);
  EXPECT_EQ(tries([&] { return ::unlink(earlier.c_str()); }), removes ? "done" : denied);
}

TEST_P(InSandbox, NoOtherProcessIsTouched) {
  EXPECT_EQ(calls(SYS_process_vm_writev, ::getpid()), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_pidfd_getfd), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_pidfd_open, ::getpid()), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_pidfd_send_signal, 0, SIGTERM), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_tkill, ::getpid(), SIGTERM), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_rt_sigqueueinfo, ::getpid(), SIGTERM), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_prlimit64, ::getpid(), RLIMIT_CORE), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_setpriority, PRIO_PROCESS, ::getpid(), 19), kRefusedBySystemCall);
  if (kSanitized) return;
  EXPECT_EQ(calls(SYS_ptrace, PTRACE_ATTACH, ::getpid()), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_process_vm_readv, ::getpid()), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_kill, ::getpid(), 0), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_kill, -1, SIGTERM), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_tgkill, ::getpid(), ::getpid(), 0), kRefusedBySystemCall);
}

TEST_P(InSandbox, NoIdentityIsChanged) {
  for (const long number : {SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid,
                            SYS_setresgid, SYS_setgroups, SYS_setfsuid, SYS_setfsgid, SYS_capset})
    EXPECT_EQ(calls(number), kRefusedBySystemCall) << number;
}

TEST_P(InSandbox, TheSystemIsNotChanged) {
  for (const long number : {SYS_mount,
                            SYS_umount2,
                            SYS_pivot_root,
                            SYS_chroot,
                            SYS_chdir,
                            SYS_fchdir,
                            SYS_unshare,
                            SYS_setns,
                            SYS_clone3,
                            SYS_open_tree,
                            SYS_move_mount,
                            SYS_fsopen,
                            SYS_bpf,
                            SYS_perf_event_open,
                            SYS_userfaultfd,
                            SYS_io_uring_setup,
                            SYS_keyctl,
                            SYS_add_key,
                            SYS_request_key,
                            SYS_init_module,
                            SYS_finit_module,
                            SYS_delete_module,
                            SYS_kexec_load,
                            SYS_reboot,
                            SYS_sethostname,
                            SYS_settimeofday,
                            SYS_clock_settime,
                            SYS_personality,
                            SYS_swapon,
                            SYS_quotactl,
                            SYS_syslog,
                            SYS_acct,
                            SYS_name_to_handle_at,
                            SYS_open_by_handle_at,
                            SYS_seccomp,
                            SYS_setsid,
                            SYS_setrlimit,
                            SYS_fcntl,
                            SYS_ioctl})
    EXPECT_EQ(calls(number, 0, 0x7777), kRefusedBySystemCall) << number;
  EXPECT_EQ(calls(SYS_ioctl, 0, TIOCSTI), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_fcntl, 0, F_DUPFD), kRefusedBySystemCall);
  if (kSanitized) return;
  EXPECT_EQ(calls(SYS_prctl, PR_SET_DUMPABLE, 1), kRefusedBySystemCall);
}

TEST_P(InSandbox, NoSocketIsMadeExceptForLinksOfChatAndCaptures) {
  const bool connects = protocol() == "chat";
  const bool captures = protocol() == "packets";
  const auto opens = [&](int family, int type) {
    return tries([=] { return ::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
  };
  const auto expected = [](bool allowed) { return allowed ? "done" : kRefusedBySystemCall; };
  EXPECT_EQ(opens(AF_INET, SOCK_STREAM), expected(connects));
  EXPECT_EQ(opens(AF_INET6, SOCK_STREAM), expected(connects));
  EXPECT_EQ(opens(AF_INET, SOCK_DGRAM), expected(captures));
  EXPECT_EQ(opens(AF_UNIX, SOCK_DGRAM), expected(captures));
  EXPECT_EQ(opens(AF_NETLINK, SOCK_RAW), expected(captures));
  EXPECT_EQ(opens(AF_PACKET, SOCK_RAW), expected(captures));
  EXPECT_EQ(opens(AF_INET, SOCK_RAW), kRefusedBySystemCall);
  EXPECT_EQ(opens(AF_UNIX, SOCK_STREAM), kRefusedBySystemCall);
  EXPECT_EQ(opens(AF_ALG, SOCK_SEQPACKET), kRefusedBySystemCall);
  EXPECT_EQ(opens(AF_BLUETOOTH, SOCK_RAW), kRefusedBySystemCall);
  EXPECT_EQ(calls(SYS_socketpair, AF_UNIX, SOCK_STREAM), kRefusedBySystemCall);
}

TEST_P(InSandbox, AParcelCanBeMade) {
  EXPECT_EQ(tries([] {
              const Parcel parcel = make_parcel();
              return parcel.held ? 0L : -1L;
            }),
            "done");
}

/// Even with TCP sockets that are there.
TEST_P(InSandbox, NobodyIsListenedToAndOnlyChatConnects) {
  const UniqueFd listener = tcp_socket();
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  address = loopback(ntohs(address.sin_port));
  const UniqueFd fd = tcp_socket();
  // Captures need the calls, so that it is Landlock that refuses, if it can.
  const bool by_landlock = protocol() == "packets";
  const std::string refused = by_landlock ? error_text(EACCES) : kRefusedBySystemCall;
  EXPECT_EQ(
      tries([&] { return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size); }),
      protocol() == "chat" || (by_landlock && landlock::kernel_abi() < 4) ? "done" : refused);
  const UniqueFd free_one = tcp_socket();
  const sockaddr_in any = loopback(0);
  EXPECT_EQ(tries([&] {
              return ::bind(free_one.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any);
            }),
            by_landlock && landlock::kernel_abi() < 4 ? "done" : refused);
  EXPECT_EQ(tries([&] { return ::listen(free_one.get(), 1); }), kRefusedBySystemCall);
}

TEST_P(InSandbox, OnlyTheCapabilityOfCapturesIsLeftAndNoneComesBack) {
  const std::string status = in_child([&] {
    enter();
    char text[4096];
    const UniqueFd fd = UniqueFd::adopt(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    const ssize_t n = ::read(fd.get(), text, sizeof text);
    return std::string(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  });
  // CAP_NET_RAW is number 13; who is not root has none of them.
  const std::string kept =
      protocol() == "packets" && ::geteuid() == 0 ? "0000000000002000" : "0000000000000000";
  for (const std::string set : {"CapPrm", "CapEff"})
    EXPECT_NE(status.find(set + ":\t" + kept + "\n"), status.npos) << set << " in\n" << status;
  for (const std::string set : {"CapInh", "CapAmb"})
    EXPECT_NE(status.find(set + ":\t0000000000000000\n"), status.npos) << set << " in\n" << status;
  const bool bounded = status.find("CapBnd:\t" + kept + "\n") != status.npos;
  EXPECT_TRUE(bounded || ::geteuid() != 0) << status;
  EXPECT_NE(status.find("NoNewPrivs:\t1\n"), status.npos) << status;
  EXPECT_NE(status.find("Seccomp:\t2\n"), status.npos) << status;
}

TEST_P(InSandbox, ARefusedCallIsNamed) {
  const std::string log = dir_ / "log";
  EXPECT_EQ(in_child([&] {
              const UniqueFd file =
                  UniqueFd::adopt(::open(log.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
              ::dup2(file.get(), STDERR_FILENO);
              log::configure(log::Level::kInfo, log::Target::kPrefixed);
              enter();
              return outcome(::syscall(SYS_mount, 0, 0, 0, 0, 0));
            }),
            kRefusedBySystemCall);
  EXPECT_EQ(test::file_content(log),
            "<3>Port 5000: the sandbox has refused the system call mount, number " +
                std::to_string(SYS_mount) + "; this worker ends\n");
}

TEST_P(InSandbox, AKeeperIsMadeAndEnded) {
  EXPECT_EQ(in_child([&] {
              int ends[2];
              check_call(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "pair");
              enter();
              Keeper keeper(UniqueFd::adopt(ends[0]));
              keeper.renew();
              keeper.revive_if_dead();
              keeper.dismiss();
              return std::string("ended");
            }),
            "ended");
}

// The sandbox as a whole.

TEST(Sandbox, OffChangesNothing) {
  const TempDir dir;
  EXPECT_EQ(in_child([&] {
              Sandbox::enter(service_of("stream", dir.path()), SandboxMode::kOff, "");
              return outcome(::open((dir / "x").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) +
                     outcome(::socket(AF_UNIX, SOCK_STREAM, 0));
            }),
            "donedone");
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += text + "|";
  return all;
}

TEST(Sandbox, SaysWhatTheSystemDoesNotHaveAndDoesTheRest) {
  const TempDir dir;
  const ServiceConfig service = service_of("stream", dir.path());
  EXPECT_EQ(in_child([&] {
              test::make_landlock_missing();
              const Sandbox sandbox = Sandbox::enter(service, SandboxMode::kOn, "Port 5000");
              return joined(sandbox.missing()) + outcome(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            }),
            "Landlock (landlock_create_ruleset: Function not implemented): files are not "
            "confined|done");
  EXPECT_EQ(in_child([&] {
              test::make_missing({{SYS_landlock_create_ruleset}}, EOPNOTSUPP);
              Sandbox::enter(service, SandboxMode::kOn, "Port 5000");
              return outcome(::socket(AF_UNIX, SOCK_STREAM, 0));
            }),
            kRefusedBySystemCall);
  EXPECT_EQ(in_child([&] {
              test::make_seccomp_missing();
              const Sandbox sandbox = Sandbox::enter(service, SandboxMode::kOn, "Port 5000");
              return joined(sandbox.missing()) + outcome(::open("/dev/null", O_WRONLY | O_CLOEXEC));
            }),
            "seccomp (seccomp: Invalid argument): system calls are not limited|"
            "Permission denied");
}

TEST(Sandbox, WhoHasNoCapabilitiesNeedNotBeAllowedToDropThem) {
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0777), 0);
  const ServiceConfig service = service_of("stream", dir.path());
  constexpr uid_t kNobody = 65534;
  EXPECT_EQ(in_child([&] {
              if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0)
                return std::string("?");
              test::make_missing({{SYS_capset}}, EPERM);  // as systemd's filters do
              const Sandbox sandbox = Sandbox::enter(service, SandboxMode::kRequired, "Port 5000");
              return joined(sandbox.missing());
            }),
            "");
}

TEST(Sandbox, RefusesToServeWithoutWhatIsRequired) {
  const TempDir dir;
  EXPECT_EQ(in_child([&] {
              test::make_landlock_missing();
              test::make_seccomp_missing();
              Sandbox::enter(service_of("stream", dir.path()), SandboxMode::kRequired, "Port 5000");
              return std::string("entered");
            }),
            "exception: Port 5000: sandbox = \"required\", but this system has no Landlock "
            "(landlock_create_ruleset: Function not implemented): files are not confined; and no "
            "seccomp (seccomp: Invalid argument): system calls are not limited");
}

/// What `output_replaced` says after another process, which is not in the sandbox, has made
/// `change`.
std::string output_after(const std::string& output, SandboxMode mode,
                         const std::function<void()>& change) {
  return in_child([&] {
    int ends[2];
    check_call(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
    char byte = 0;
    if (::fork() == 0) {
      if (::read(ends[1], &byte, 1) == 1) change();
      ::_exit(::write(ends[1], &byte, 1) == 1 ? 0 : 1);
    }
    const Sandbox sandbox = Sandbox::enter(service_of("stream", output), mode, "");
    if (::write(ends[0], &byte, 1) != 1 || ::read(ends[0], &byte, 1) != 1) return std::string("?");
    return std::string(sandbox.output_replaced() ? "replaced" : "the same");
  });
}

TEST(Sandbox, NoticesThatTheOutputDirectoryIsAnotherOne) {
  namespace fs = std::filesystem;
  const TempDir dir;
  const std::string output = dir / "output";
  fs::create_directory(output);
  const auto replace = [&] {
    fs::rename(output, dir / "moved");
    fs::create_directory(output);
  };
  EXPECT_EQ(output_after(output, SandboxMode::kRequired, [] {}), "the same");
  EXPECT_EQ(output_after(output, SandboxMode::kRequired, [&] { fs::rename(output, dir / "away"); }),
            "the same")
      << "there is none to go to";
  EXPECT_EQ(output_after(output, SandboxMode::kRequired, [&] { fs::create_directory(output); }),
            "replaced")
      << "one that was missing at first";
  EXPECT_EQ(output_after(output, SandboxMode::kRequired, replace), "replaced");
  fs::remove_all(dir / "moved");
  EXPECT_EQ(output_after(output, SandboxMode::kOff, replace), "the same") << "not confined to it";
}

// The baseline: Debian 12's kernel.

TEST(Landlock, ItsSecondVersionConfinesFilesToo) {
  const TempDir dir;
  const std::string output = dir / "output";
  std::filesystem::create_directory(output);
  const auto tries = [&](const std::string& path) {
    return in_child([&] {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      landlock::restrict_to({{{output, landlock::kWrite}}}, 2);
      return outcome(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    });
  };
  EXPECT_EQ(tries(output + "/new"), "done");
  EXPECT_EQ(tries(dir / "new"), error_text(EACCES));
}

TEST(Landlock, APathThatIsMissingGivesNoRights) {
  const TempDir dir;
  EXPECT_EQ(in_child([&] {
              ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
              landlock::restrict_to({{{dir / "later", landlock::kWrite}}}, landlock::kernel_abi());
              return outcome(::open((dir / "later").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
            }),
            error_text(EACCES));
}

TEST(Landlock, ConnectingIsRefusedWhereTheKernelCan) {
  const auto tries = [](bool connects) {
    return in_child([&] {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      landlock::restrict_to({{}, connects}, landlock::kernel_abi());
      const UniqueFd fd = tcp_socket();
      const sockaddr_in address = loopback(1);
      return outcome(
          ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address));
    });
  };
  EXPECT_EQ(tries(false), error_text(landlock::kernel_abi() >= 4 ? EACCES : ECONNREFUSED));
  EXPECT_EQ(tries(true), error_text(ECONNREFUSED));
}

// The tables.

#ifdef __x86_64__  // some are missing elsewhere
TEST(SandboxPolicy, EveryRuleNamesACallThatExists) {
  const std::vector<std::string> names = syscall_names();
  for (const char* protocol : {"stream", "accio", "monitor", "chat", "packets", "none"})
    for (const SyscallRule& rule : allowed_calls(sandbox_policy(protocol)))
      EXPECT_NE(std::find(names.begin(), names.end(), rule.name), names.end()) << rule.name;
}

#endif

TEST(SandboxPolicy, AnUnknownProtocolMayDoNothingMore) {
  const SandboxPolicy& policy = sandbox_policy("none");
  EXPECT_TRUE(policy.calls.empty());
  EXPECT_EQ(policy.output, 0U);
  EXPECT_FALSE(policy.connects);
}

}  // namespace
}  // namespace serverd
