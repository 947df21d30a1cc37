// The sandbox of workers, as a user and an administrator see it.
#include "common/os/error.h"
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace serverd::test {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kProtocols = {"stream", "accio", "monitor", "chat", "packets"};

/// One service of each protocol from `base` on.
std::string config(std::uint16_t base, const std::string& daemon = "") {
  std::string text = "[daemon]\nuser = \"\"\n" + daemon + "\n";
  for (const std::string& protocol : kProtocols) {
    text += "[[service]]\nname = \"" + protocol + "\"\nprotocol = \"" + protocol +
            "\"\nlisten = [\"127.0.0.1:" + std::to_string(base++) + "\"]\n";
    if (protocol != "monitor" && protocol != "packets") text += "output = \"" + protocol + "\"\n";
  }
  return text;
}

/// "1" of "NoNewPrivs:\t1" in proc(5).
std::string status_field(pid_t pid, const std::string& name) {
  const std::string status = file_content("/proc/" + std::to_string(pid) + "/status");
  const auto at = status.find("\n" + name + ":\t");
  if (at == std::string::npos) return "?";
  const auto start = at + name.size() + 3;
  return status.substr(start, status.find('\n', start) - start);
}

std::uint16_t plus(std::uint16_t base, std::size_t index) {
  return static_cast<std::uint16_t>(base + index);
}

TEST(Sandbox, EveryWorkerAndItsKeeperAreInIt) {
  Workspace workspace;
  const auto base = free_ports(5);
  workspace.write("c.toml", config(base, "sandbox = \"required\""));
  Server server(workspace, {"-c", "c.toml"});
  for (std::size_t i = 0; i < kProtocols.size(); ++i) {
    const pid_t worker = server.worker(plus(base, i));
    ASSERT_NE(worker, 0) << kProtocols[i] << "\n" << server.err();
    const auto keepers = children_of(worker);
    ASSERT_EQ(keepers.size(), 1U) << kProtocols[i];
    for (const pid_t pid : {worker, keepers.front()}) {
      EXPECT_EQ(status_field(pid, "Seccomp"), "2") << kProtocols[i];
      EXPECT_EQ(status_field(pid, "NoNewPrivs"), "1") << kProtocols[i];
      // Captures need CAP_NET_RAW, number 13.
      const std::string kept = kProtocols[i] == "packets" ? "0000000000002000" : "0000000000000000";
      EXPECT_EQ(status_field(pid, "CapPrm"), kept) << kProtocols[i];
      EXPECT_EQ(status_field(pid, "CapEff"), kept) << kProtocols[i];
    }
  }
  EXPECT_EQ(server.stop(SIGTERM), 0);
  EXPECT_EQ(server.err().find("sandbox"), std::string::npos) << server.err();
}

TEST(Sandbox, CanBeTurnedOffAndOnByReloading) {
  Workspace workspace;
  const auto base = free_ports(5);
  workspace.write("c.toml", config(base, "sandbox = \"off\""));
  Server server(workspace, {"-c", "c.toml"});
  const auto is_in_it = [&](const std::string& expected) {
    return eventually([&] {
      for (std::size_t i = 0; i < kProtocols.size(); ++i)
        if (status_field(server.worker(plus(base, i)), "Seccomp") != expected) return false;
      return true;
    });
  };
  EXPECT_TRUE(is_in_it("0"));
  const Client client("127.0.0.1", base);
  ASSERT_TRUE(client.send("before, "));
  workspace.write("c.toml", config(base));
  server.program().signal(SIGHUP);
  EXPECT_TRUE(is_in_it("2")) << server.err();
  ASSERT_TRUE(client.send("after"));
  EXPECT_TRUE(eventually([&] {
    return file_content(only_file(workspace.path() / "stream", "stream_")) == "before, after";
  }));
}

#ifdef __x86_64__
/// Makes a process execute a system call, as one that was taken over would: it is stopped by
/// ptrace(2) within a system call, which is repeated with another number.
void make_call(pid_t pid, long number) {
  ASSERT_EQ(::ptrace(PTRACE_ATTACH, pid, nullptr, nullptr), 0) << error_text(errno);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, __WALL), pid);
  user_regs_struct registers{};
  ASSERT_EQ(::ptrace(PTRACE_GETREGS, pid, nullptr, &registers), 0);
  registers.rip -= 2;  // the instruction "syscall"
  registers.rax = static_cast<unsigned long long>(number);
  registers.orig_rax = ~0ULL;  // not to be restarted
  ASSERT_EQ(::ptrace(PTRACE_SETREGS, pid, nullptr, &registers), 0);
  ASSERT_EQ(::ptrace(PTRACE_DETACH, pid, nullptr, nullptr), 0);
}

TEST(Sandbox, ARefusedCallEndsTheWorkerAndIsNamedAndConnectionsGoOn) {
  Workspace workspace;
  const auto base = free_ports(5);
  workspace.write("c.toml", config(base));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", base);
  ASSERT_TRUE(client.send("before, "));
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  for (std::size_t i = 0; i < kProtocols.size(); ++i) {
    const std::string port = std::to_string(plus(base, i));
    const pid_t worker = server.worker(plus(base, i));
    ASSERT_TRUE(eventually([&] {  // it waits in poll(2)
      return file_content("/proc/" + std::to_string(worker) + "/syscall")
          .starts_with(std::to_string(SYS_poll) + " ");
    }));
    make_call(worker, SYS_execve);
    EXPECT_TRUE(server.wait_for_err("error: Port " + port +
                                    ": the sandbox has refused the system call execve, number " +
                                    std::to_string(SYS_execve) + "; this worker ends\n"))
        << server.err();
    EXPECT_TRUE(server.wait_for_err("Port " + port + ": the worker was killed by signal 31"))
        << server.err();
    EXPECT_TRUE(eventually([&] {
      const pid_t next = server.worker(plus(base, i));
      return next != 0 && next != worker;
    }));
  }
  ASSERT_TRUE(client.send("after"));
  EXPECT_TRUE(eventually([&] {
    return file_content(only_file(workspace.path() / "stream", "stream_")) == "before, after";
  }));
  EXPECT_EQ(server.stop(SIGTERM), 0);
}
#endif

TEST(Sandbox, AReplacedOutputDirectoryIsFollowedWithAllConnections) {
  Workspace workspace;
  const auto base = free_ports(5);
  workspace.write("c.toml", config(base));
  Server server(workspace, {"-c", "c.toml"});
  const pid_t worker = server.worker(base);
  const Client client("127.0.0.1", base);
  ASSERT_TRUE(client.send("before"));
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  ASSERT_TRUE(client.wait_until_acknowledged());
  ASSERT_TRUE(eventually(
      [&] { return file_content(only_file(workspace.path() / "stream", "stream_")) == "before"; }));
  fs::rename(workspace.path() / "stream", workspace.path() / "archive");
  fs::create_directory(workspace.path() / "stream");
  server.program().signal(SIGUSR1);
  ASSERT_TRUE(server.wait_for_err("its output directory was replaced; a new worker goes on"))
      << server.err();
  ASSERT_TRUE(client.send("after"));
  EXPECT_TRUE(eventually([&] {
    const std::string file = only_file(workspace.path() / "stream", "stream_");
    return !file.empty() && file_content(file) == "after";
  })) << server.err();
  EXPECT_EQ(file_content(only_file(workspace.path() / "archive", "stream_")), "before");
  EXPECT_NE(server.worker(base), worker);
}

TEST(Sandbox, AnAccioFileThatIsDueIsMadeInTheReplacedDirectory) {
  Workspace workspace;
  const auto base = free_ports(5);
  workspace.write("c.toml", config(base));
  Server server(workspace, {"-c", "c.toml"});
  fs::remove(workspace.path() / "accio");
  fs::create_directory(workspace.path() / "accio");
  { const Client silent("127.0.0.1", plus(base, 1)); }
  EXPECT_TRUE(eventually([&] { return fs::exists(workspace.path() / "accio/1.file"); }))
      << server.err();
}

/// A server on a system that has no `what`.
std::vector<std::string> without(const std::string& what, const Workspace& workspace) {
  return {WITHOUT, what,    built("stream-serverd"), "--runtime-dir", workspace / "run",
          "-c",    "c.toml"};
}

TEST(Sandbox, WhatTheSystemDoesNotHaveIsSaidOnceForEachPort) {
  Workspace workspace;
  const auto base = free_ports(5);
  workspace.write("c.toml", config(base));
  const std::string line =
      "warning: Port " + std::to_string(base) +
      ": this system has no Landlock "
      "(landlock_create_ruleset: Function not implemented): files are not confined; "
      "sandbox = \"required\" would refuse to serve";
  Program server(without("landlock", workspace), {workspace.path().string(), {}, ""});
  ASSERT_TRUE(server.wait_for_err("ports up")) << server.err();
  EXPECT_TRUE(server.wait_for_err(line)) << server.err();
  for (const pid_t worker : children_of(server.pid())) ::kill(worker, SIGKILL);
  EXPECT_TRUE(server.wait_for_err("is up, restart 1", 5)) << server.err();
  const Client client("127.0.0.1", base);
  ASSERT_TRUE(client.send("served"));
  EXPECT_TRUE(server.wait_for_err("Created output file"));
  EXPECT_EQ(server.err().find(line), server.err().rfind(line)) << server.err();
}

TEST(Sandbox, WhatIsRequiredAndNotThereIsAReasonNotToServe) {
  for (const std::string missing : {"landlock", "seccomp"}) {
    Workspace workspace;
    const auto base = free_ports(5);
    workspace.write("c.toml", config(base, "sandbox = \"required\""));
    Program server(without(missing, workspace), {workspace.path().string(), {}, ""});
    const std::string port = "Port " + std::to_string(base);
    EXPECT_TRUE(server.wait_for_err(port + ": the worker exited with code 78; quarantined"))
        << server.err();
    EXPECT_NE(server.err().find(port + ": sandbox = \"required\", but this system has no " +
                                (missing == "landlock" ? "Landlock (" : "seccomp (")),
              std::string::npos)
        << server.err();
    EXPECT_NE(server.err().find("set it to \"on\" to serve without"), std::string::npos);
  }
}

TEST(Sandbox, AWorkerAloneIsInItToo) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "sandbox = \"required\""));
  Program worker({"systemd-socket-activate", "-l", "127.0.0.1:" + std::to_string(port),
                  built("stream-worker"), "--config", "c.toml", "--service", "monitor"},
                 {workspace.path().string(), {}, ""});
  ASSERT_TRUE(worker.wait_for_err("Listening on"));
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("seen\n"));
  EXPECT_TRUE(eventually([&] { return worker.out().find("seen") != std::string::npos; }));
  EXPECT_EQ(status_field(worker.pid(), "Seccomp"), "2");
}

}  // namespace
}  // namespace serverd::test
