#include "common/os/socket.h"
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>

#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace serverd::test {
namespace {

namespace fs = std::filesystem;

std::string config(std::uint16_t base, unsigned count, const std::string& daemon = "user = \"\"",
                   const std::string& restart = "") {
  return "[daemon]\n" + daemon + "\n[restart]\n" + restart +
         "\n[[service]]\nname = \"capture\"\nprotocol = \"stream\"\noutput = \"output\"\n"
         "listen = [\"127.0.0.1:" +
         std::to_string(base) + "-" + std::to_string(base + count - 1) + "\"]\n";
}

Finished serverd_in(const Workspace& workspace, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {built("stream-serverd"), "--runtime-dir", workspace / "run"});
  return run_program(std::move(arguments), {workspace.path().string(), {}, ""});
}

TEST(Supervisor, RefusesBadArgumentsWithUsage) {
  Workspace workspace;
  const std::vector<std::vector<std::string>> wrong = {
      {"nonsense"},
      {"stream"},
      {"stream", "127.0.0.1"},
      {"stream", "127.0.0.1", "5000"},
      {"stream", "127.0.0.1", "x", "3"},
      {"stream", "127.0.0.1", "5000", "three"},
      {"stream", "127.0.0.1", "0", "3"},
      {"stream", "127.0.0.1", "-1", "3"},
      {"stream", "127.0.0.1", "70000", "1"},
      {"stream", "127.0.0.1", "99999999999999999999", "1"},
      {"stream", "127.0.0.1", "65535", "2"},
      {"stream", "127.0.0.1", "5000", "0"},
      {"stream", "localhost", "5000", "1"},
      {"stream", "127.0.0.256", "5000", "1"},
      {"stream", "127.0.0.1", "5000", "1", "extra"},
      {"stream", "127.0.0.1", "5000", "1", "--nonsense"},
      {"stream", "127.0.0.1", "5000", "1", "--output", ""},
      {"check", "extra"},
  };
  for (const auto& arguments : wrong) {
    const Finished finished = serverd_in(workspace, arguments);
    const std::string shown = std::accumulate(
        arguments.begin(), arguments.end(), std::string(),
        [](std::string text, const std::string& word) { return text + " " + word; });
    EXPECT_EQ(finished.code, 64) << shown << "\n" << finished.err;
    EXPECT_NE(finished.err.find("Usage: "), std::string::npos) << shown << "\n" << finished.err;
    EXPECT_EQ(finished.out, "") << shown;
  }
  EXPECT_EQ(serverd_in(workspace, {"--help"}).code, 0);
  EXPECT_EQ(serverd_in(workspace, {"--version"}).code, 0);
}

TEST(Supervisor, NamesEveryConfigErrorInOneRunAndExits78) {
  Workspace workspace;
  workspace.write("bad.toml",
                  "[daemon]\nnmae = \"x\"\nstop_timeout = 5\n[[service]]\nname = \"s\"\n"
                  "protocol = \"stream\"\nlisten = [\"127.0.0.1:70000\"]\n");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"check", "-c", "bad.toml"},
        {"-c", "bad.toml"},
        {"run", "-c", "bad.toml"}}) {
    const Finished finished = serverd_in(workspace, arguments);
    EXPECT_EQ(finished.code, 78);
    for (const char* place : {"bad.toml:2:1: ", "bad.toml:3:", "bad.toml:7:"})
      EXPECT_NE(finished.err.find(place), std::string::npos) << place << "\n" << finished.err;
  }
  const Finished missing = serverd_in(workspace, {"check", "-c", "missing.toml"});
  EXPECT_EQ(missing.code, 78);
  EXPECT_NE(missing.err.find("missing.toml: No such file or directory"), std::string::npos)
      << missing.err;
}

TEST(Supervisor, ChecksAGoodConfig) {
  Workspace workspace;
  workspace.write("good.toml", config(5000, 3));
  const Finished finished = serverd_in(workspace, {"check", "-c", "good.toml"});
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(finished.err, "");
}

TEST(Supervisor, NamesAPortInUseAndExits69) {
  Workspace workspace;
  const auto base = free_ports(3);
  const UniqueFd taken =
      listen_on(*SocketAddress::from_host("127.0.0.1", static_cast<std::uint16_t>(base + 1)), 1);
  const Finished finished =
      serverd_in(workspace, {"stream", "127.0.0.1", std::to_string(base), "3"});
  EXPECT_EQ(finished.code, 69);
  EXPECT_NE(
      finished.err.find("bind 127.0.0.1:" + std::to_string(base + 1) + ": Address already in use"),
      std::string::npos)
      << finished.err;
  EXPECT_FALSE(fs::exists(workspace.path() / "output")) << "nothing is begun before all is bound";
}

TEST(Supervisor, GoesOnWithoutATakenPortIfToldTo) {
  Workspace workspace;
  const auto base = free_ports(2);
  const UniqueFd taken = listen_on(*SocketAddress::from_host("127.0.0.1", base), 1);
  workspace.write("c.toml", config(base, 2, "user = \"\"\non_bind_failure = \"skip\""));
  Server server(workspace, {"-c", "c.toml"});
  EXPECT_NE(server.err().find("127.0.0.1:" + std::to_string(base) + ": Address already in use"),
            std::string::npos);
  EXPECT_TRUE(Client("127.0.0.1", static_cast<std::uint16_t>(base + 1)).send("x"));
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

TEST(Supervisor, NamesAnOutputThatCannotBeCreatedAndExits73) {
  Workspace workspace;
  workspace.write("file", "");
  const Finished finished = serverd_in(
      workspace,
      {"stream", "127.0.0.1", std::to_string(free_ports(1)), "1", "--output", "file/below"});
  EXPECT_EQ(finished.code, 73);
  EXPECT_NE(finished.err.find("file/below: Not a directory"), std::string::npos) << finished.err;
}

TEST(Supervisor, RefusesASecondInstanceOfTheSameName) {
  Workspace workspace;
  const auto base = free_ports(2);
  workspace.write("one.toml", config(base, 1));
  workspace.write("two.toml", config(static_cast<std::uint16_t>(base + 1), 1));
  Server server(workspace, {"-c", "one.toml"});
  const Finished second = serverd_in(workspace, {"-c", "two.toml"});
  EXPECT_EQ(second.code, 69);
  EXPECT_NE(second.err.find("instance 'main' is already running (pid " +
                            std::to_string(server.program().pid())),
            std::string::npos)
      << second.err;
}

TEST(Supervisor, ReplacesWhatAKilledInstanceLeft) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  {
    Server killed(workspace, {"-c", "c.toml"});
    const pid_t worker = killed.worker(port);
    EXPECT_EQ(killed.stop(SIGKILL), 128 + SIGKILL);
    EXPECT_TRUE(eventually([&] { return ::kill(worker, 0) != 0; })) << "the worker stayed behind";
  }
  EXPECT_TRUE(fs::exists(workspace.path() / "run/main"));
  Server server(workspace, {"-c", "c.toml"});
  EXPECT_EQ(server.stop(SIGTERM), 0);
  EXPECT_FALSE(fs::exists(workspace.path() / "run/main"));
}

TEST(Supervisor, GivesAWorkerOnlyWhatIsItsOwn) {
  Workspace workspace;
  const auto base = free_ports(20);
  Server server(workspace, {"stream", "127.0.0.1", std::to_string(base), "20"});
  const pid_t worker = server.worker(static_cast<std::uint16_t>(base + 7));
  ASSERT_NE(worker, 0);
  std::map<std::string, int> kinds;
  const auto descriptors = descriptors_of(worker);
  for (std::size_t i = 3; i < descriptors.size(); ++i)
    ++kinds[descriptors[i].substr(0, descriptors[i].find_first_of("[-: ("))];
  EXPECT_EQ(descriptors[0], "/dev/null");
  EXPECT_EQ(kinds["socket"], 3) << "its listener, its notify socket, the parcel";
  EXPECT_LE(kinds["/memfd"], 2) << "settings and ledger";
  EXPECT_EQ(kinds["anon_inode"], 3)
      << "its signalfd, its own pidfd for the keeper, and the keeper's";
  EXPECT_EQ(kinds.size(), 3U) << "and nothing else";
}

TEST(Supervisor, ShowsEachWorkersPortInPs) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, {"stream", "0.0.0.0", std::to_string(port), "1"});
  const auto children = children_of(server.program().pid());
  ASSERT_EQ(children.size(), 1U);
  const Finished ps = run_program({"ps", "-o", "args=", "-p", std::to_string(children[0])});
  EXPECT_EQ(ps.out, "stream-worker: stream 0.0.0.0:" + std::to_string(port) + "\n");
}

TEST(Supervisor, LeaksNothingInAThousandRestarts) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1, "user = \"\"", "rate = 1000"));
  Server server(workspace, {"-c", "c.toml"}, {});
  const auto serves = [&] {
    const Client client("127.0.0.1", port);
    client.half_close();
    return client.wait_for_close();
  };
  ASSERT_TRUE(serves());
  const auto before = descriptors_of(server.program().pid()).size();
  for (int i = 1; i <= 1000; ++i) {
    ::kill(server.worker(port), SIGKILL);
    // Killed before it is ready, it would be held back as one that cannot start.
    ASSERT_TRUE(server.wait_for_err("restart " + std::to_string(i) + "\n")) << server.err();
  }
  ASSERT_TRUE(serves());
  EXPECT_TRUE(eventually([&] { return descriptors_of(server.program().pid()).size() == before; }))
      << before << " descriptors before, " << descriptors_of(server.program().pid()).size()
      << " after";
  EXPECT_EQ(children_of(server.program().pid()).size(), 1U);
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(workspace.path() / "run/main"))
    files += entry.exists();
  EXPECT_EQ(files, 3U) << "the lock, the control socket and one notify socket";
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

/// A directory with our stream-serverd and the misbehaving worker beside it.
std::string with_fake_worker(const Workspace& workspace) {
  fs::copy_file(built("stream-serverd"), workspace.path() / "stream-serverd");
  fs::copy_file(FAKE_WORKER, workspace.path() / "stream-worker");
  return workspace / "stream-serverd";
}

std::vector<std::string> with_config(const Workspace& workspace, const std::string& text) {
  workspace.write("c.toml", text);
  return {with_fake_worker(workspace), "--runtime-dir", workspace / "run", "-c", "c.toml"};
}

std::vector<std::string> misbehaving(std::uint16_t port, const std::string& how) {
  return {"FAKE_WORKER=" + std::to_string(port) + ":" + how};
}

constexpr const char* kQuick =
    "initial = \"10ms\"\nquarantine_after = 3\nprobe_interval = \"300ms\"\nstart_timeout = "
    "\"300ms\"";

TEST(Supervisor, QuarantinesOnlyThePortWhoseWorkerNeverBecomesReady) {
  for (const char* how : {"crash", "exit-1", "hang-before-ready"}) {
    Workspace workspace;
    const auto base = free_ports(2);
    Program server(with_config(workspace, config(base, 2, "user = \"\"", kQuick)),
                   {workspace.path().string(), misbehaving(base, how), ""});
    const std::string port = "Port " + std::to_string(base);
    EXPECT_TRUE(server.wait_for_err(port + ": the worker", 3)) << how << "\n" << server.err();
    EXPECT_TRUE(server.wait_for_err("quarantined: it stays bound")) << how << "\n" << server.err();
    EXPECT_TRUE(server.wait_for_err(port + ": probing", 2)) << how << "\n" << server.err();
    EXPECT_TRUE(server.wait_for_err("1 of 2 ports up; not served: " + std::to_string(base)))
        << server.err();
    EXPECT_NO_THROW(Client("127.0.0.1", base)) << "a quarantined port stays bound";
    EXPECT_EQ(server.err().find("Port " + std::to_string(base + 1) + ": the worker"),
              std::string::npos);
    server.signal(SIGTERM);
    EXPECT_EQ(server.wait().value_or(-1), 0);
  }
}

TEST(Supervisor, QuarantinesAtOnceAfterExit78) {
  Workspace workspace;
  const auto base = free_ports(1);
  Program server(with_config(workspace, config(base, 1)),
                 {workspace.path().string(), misbehaving(base, "exit-78"), ""});
  EXPECT_TRUE(server.wait_for_err("exited with code 78; quarantined")) << server.err();
  EXPECT_EQ(server.err().find("next start in"), std::string::npos) << server.err();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait().value_or(-1), 0);
}

TEST(Supervisor, GoesOnWithParkedConnectionsHoweverOftenAWorkerDiesOverThem) {
  Workspace workspace;
  const auto base = free_ports(1);
  Program server(
      with_config(workspace, config(base, 1, "user = \"\"",
                                    "initial = \"1ms\"\nmaximum = \"1ms\"\n"
                                    "quarantine_after = 100\nquarantine_window = \"1s\"")),
      {workspace.path().string(), misbehaving(base, "park-and-exit"), ""});
  ASSERT_TRUE(server.wait_for_err("the worker exited with code 1", 5)) << server.err();
  const std::size_t before = descriptors_of(server.pid()).size();
  EXPECT_TRUE(server.wait_for_err("the worker exited with code 1", 80)) << server.err();
  EXPECT_EQ(server.err().find("could not be started"), std::string::npos) << server.err();
  // Some come and go while a worker is being started.
  EXPECT_TRUE(test::eventually([&] { return descriptors_of(server.pid()).size() <= before + 10; }))
      << "and none is left from each";
}

TEST(Supervisor, LimitsRestartsAfterReadinessToTheRate) {
  Workspace workspace;
  const auto base = free_ports(1);
  Program server(with_config(workspace, config(base, 1, "user = \"\"", "rate = 5")),
                 {workspace.path().string(), misbehaving(base, "crash-after-ready"), ""});
  EXPECT_TRUE(server.wait_for_err("starting another", 5)) << server.err();
  EXPECT_TRUE(server.wait_for_err("next start in 0.", 3)) << server.err();
  EXPECT_EQ(server.err().find("quarantined"), std::string::npos) << "never for what peers did";
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait().value_or(-1), 0);
}

TEST(Supervisor, KillsAWorkerThatDoesNotStopInTime) {
  Workspace workspace;
  const auto base = free_ports(1);
  Program server(with_config(workspace, config(base, 1, "user = \"\"\nstop_timeout = \"200ms\"")),
                 {workspace.path().string(), misbehaving(base, "ignore-term"), ""});
  ASSERT_TRUE(server.wait_for_err("ports up"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait().value_or(-1), 0);
  EXPECT_NE(server.err().find("did not end in time, sent signal 9"), std::string::npos)
      << server.err();
}

TEST(Supervisor, EndsAtOnceOnASecondSignal) {
  Workspace workspace;
  const auto base = free_ports(1);
  Program server(with_config(workspace, config(base, 1, "user = \"\"\nstop_timeout = \"1h\"")),
                 {workspace.path().string(), misbehaving(base, "ignore-term"), ""});
  ASSERT_TRUE(server.wait_for_err("ports up"));
  server.signal(SIGINT);
  ASSERT_TRUE(server.wait_for_err("Shutting down server..."));
  EXPECT_TRUE(server.running());
  server.signal(SIGINT);
  EXPECT_EQ(server.wait().value_or(-1), 0);
}

TEST(Supervisor, AStopDuringAnUpgradeStops) {
  Workspace workspace;
  const auto base = free_ports(1);
  Program server(with_config(workspace, config(base, 1, "user = \"\"\nstop_timeout = \"500ms\"")),
                 {workspace.path().string(), misbehaving(base, "ignore-term"), ""});
  ASSERT_TRUE(server.wait_for_err("ports up"));
  // So that the upgrade cannot be over before the stop comes.
  fs::rename(workspace.path() / "stream-serverd", workspace.path() / "old");
  fs::copy_file(FAKE_WORKER, workspace.path() / "stream-serverd");
  server.signal(SIGUSR2);
  ASSERT_TRUE(server.wait_for_err("upgrading to"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(Seconds(5)).value_or(-1), 0) << server.err();
  EXPECT_EQ(server.err().find("Upgraded"), std::string::npos) << server.err();
  EXPECT_EQ(server.err().find("refused"), std::string::npos) << server.err();
}

TEST(Supervisor, SaysThatTheWorkerProgramIsMissing) {
  Workspace workspace;
  fs::copy_file(built("stream-serverd"), workspace.path() / "stream-serverd");
  const Finished finished =
      run_program({workspace / "stream-serverd", "--runtime-dir", workspace / "run", "stream",
                   "127.0.0.1", std::to_string(free_ports(1)), "1"},
                  {workspace.path().string(), {}, ""});
  EXPECT_EQ(finished.code, 71);
  EXPECT_NE(finished.err.find("the worker program is missing"), std::string::npos) << finished.err;
}

TEST(Supervisor, RunsWorkersAsTheConfiguredUser) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root";
  const passwd* nobody = ::getpwnam("nobody");
  ASSERT_NE(nobody, nullptr);
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1, "user = \"nobody\""));
  Server server(workspace, {"-c", "c.toml"});
  Client("127.0.0.1", port).send("x");
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  struct stat status {};
  ASSERT_EQ(::stat(only_file(workspace.path() / "output", "stream_").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, nobody->pw_uid);
  ASSERT_EQ(::stat(("/proc/" + std::to_string(server.worker(port))).c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, nobody->pw_uid);
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

TEST(Supervisor, SaysThatTheConfiguredUserDoesNotExist) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root";
  Workspace workspace;
  workspace.write("c.toml", config(free_ports(1), 1, "user = \"no-such-user\""));
  const Finished finished = serverd_in(workspace, {"-c", "c.toml"});
  EXPECT_EQ(finished.code, 78);
  EXPECT_NE(finished.err.find("no user 'no-such-user'"), std::string::npos) << finished.err;
}

TEST(Supervisor, ReportsReadinessAndStatusToItsServiceManager) {
  Workspace workspace;
  const std::string path = workspace / "notify";
  const UniqueFd manager = UniqueFd::adopt(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(manager.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const auto port = free_ports(1);
  Server server(workspace, {"stream", "127.0.0.1", std::to_string(port), "1"},
                {"NOTIFY_SOCKET=" + path});
  EXPECT_EQ(server.stop(SIGTERM), 0);
  std::string heard;
  char message[4096];
  ssize_t n = 0;
  while ((n = ::recv(manager.get(), message, sizeof message, MSG_DONTWAIT)) > 0)
    heard += std::string(message, static_cast<std::size_t>(n)) + "\n";
  EXPECT_NE(heard.find("READY=1\nSTATUS=1 of 1 ports up\n"), std::string::npos) << heard;
  EXPECT_NE(heard.find("STOPPING=1"), std::string::npos) << heard;
}

TEST(Supervisor, TakesInheritedSocketsByName) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml",
                  "[daemon]\nuser = \"\"\n[[service]]\nname = \"capture\"\nprotocol = \"stream\"\n"
                  "output = \"output\"\nlisten = [\"systemd:web\"]\n");
  Program server(
      {"systemd-socket-activate", "-l", "127.0.0.1:" + std::to_string(port), "--fdname=web",
       built("stream-serverd"), "--runtime-dir", workspace / "run", "-c", "c.toml"},
      {workspace.path().string(), {}, ""});
  ASSERT_TRUE(server.wait_for_err("Listening on"));
  const Client client("127.0.0.1", port);  // the first connection starts the daemon
  client.send("activated");
  ASSERT_TRUE(server.wait_for_err("Created output file")) << server.err();
  EXPECT_TRUE(client.wait_until_acknowledged());
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait().value_or(-1), 0);
  EXPECT_EQ(file_content(only_file(workspace.path() / "output", "stream_")), "activated");
}

}  // namespace
}  // namespace serverd::test
