// The commands that see and steer a running daemon.
#include "common/os/socket.h"
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <memory>
#include <numeric>
#include <regex>
#include <sstream>

#include <sys/stat.h>

namespace serverd::test {
namespace {

namespace fs = std::filesystem;

std::string config(std::uint16_t base, unsigned count, const std::string& more = "",
                   const std::string& daemon = "") {
  return "[daemon]\nuser = \"\"\n" + daemon +
         "\n[[service]]\nname = \"capture\"\nprotocol = \"stream\"\noutput = \"output\"\n"
         "listen = [\"127.0.0.1:" +
         std::to_string(base) + "-" + std::to_string(base + count - 1) + "\"]\n" + more;
}

Finished admin(const Workspace& workspace, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {built("stream-serverd"), "--runtime-dir", workspace / "run"});
  return run_program(std::move(arguments), {workspace.path().string(), {}, ""});
}

std::string socket_of(const Workspace& workspace, const std::string& name = "main") {
  return workspace / ("run/" + name + "/control.sock");
}

/// What socat gets for a line.
std::string by_socat(const Workspace& workspace, const std::string& line) {
  workspace.write("request", line + "\n");
  return run_program({"socat", "-t", "10", "-", "UNIX-CONNECT:" + socket_of(workspace)},
                     {"", {}, workspace / "request"})
      .out;
}

/// How often `text` matches.
std::size_t count(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  return static_cast<std::size_t>(
      std::distance(std::sregex_iterator(text.begin(), text.end(), regex), {}));
}

std::string json_of(const Workspace& workspace, const std::string& command) {
  return admin(workspace, {command, "--json"}).out;
}

/// Until `status --json` says so.
bool status_becomes(const Workspace& workspace, const std::string& pattern) {
  return eventually([&] { return count(json_of(workspace, "status"), pattern) > 0; });
}

TEST(Admin, EveryCommandSaysThatNothingRunsAndExits3) {
  Workspace workspace;
  const std::vector<std::vector<std::string>> commands = {
      {"status"}, {"connections"},     {"kill", "5000-1"}, {"reload"},           {"stop"},
      {"drain"},  {"restart", "5000"}, {"resume", "5000"}, {"status", "--watch"}};
  for (std::vector<std::string> arguments : commands) {
    Finished finished = admin(workspace, arguments);
    EXPECT_EQ(finished.code, 3) << arguments[0];
    EXPECT_EQ(finished.err,
              "stream-serverd: no instance is running (" + (workspace / "run") + ")\n");
    EXPECT_EQ(finished.out, "");
    arguments.insert(arguments.end(), {"--name", "other"});
    finished = admin(workspace, arguments);
    EXPECT_EQ(finished.code, 3) << arguments[0];
    EXPECT_NE(finished.err.find("instance 'other' is not running"), std::string::npos);
  }
}

TEST(Admin, WrongArgumentsExit64) {
  Workspace workspace;
  const std::vector<std::vector<std::string>> wrong = {{"kill"},
                                                       {"restart"},
                                                       {"restart", "x"},
                                                       {"restart", "0"},
                                                       {"resume", "70000"},
                                                       {"status", "extra"},
                                                       {"status", "--x"},
                                                       {"status", "--watch", "soon"},
                                                       {"connections", "--port", "0"}};
  for (const auto& arguments : wrong) {
    const Finished finished = admin(workspace, arguments);
    EXPECT_EQ(finished.code, 64) << arguments[0] << " " << finished.err;
    EXPECT_NE(finished.err.find("Usage: "), std::string::npos) << finished.err;
  }
}

TEST(Admin, StatusShowsEveryPortAndExits0WhenAllAreUp) {
  Workspace workspace;
  const auto base = free_ports(2);
  workspace.write("c.toml", config(base, 2));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", base);
  client.send("hello");
  ASSERT_TRUE(status_becomes(workspace, "\"bytes\":5"));
  const Finished json = admin(workspace, {"status", "--json"});
  EXPECT_EQ(json.code, 0);
  EXPECT_EQ(count(json.out, "^\\{\"name\":\"main\",\"pid\":" +
                                std::to_string(server.program().pid()) + ",\"uptime_s\":[0-9]+,"),
            1U)
      << json.out;
  EXPECT_EQ(count(json.out, "\"state\":\"up\""), 2U);
  EXPECT_EQ(count(json.out,
                  "\"port\":" + std::to_string(base) +
                      ",\"state\":\"up\",\"worker_pid\":" + std::to_string(server.worker(base)) +
                      ",\"generation\":1,\"restarts\":0,\"last_death\":\"\","
                      "\"connections\":1,\"accepted\":1,\"bytes\":5,\"file\":\"output/"
                      "stream_" +
                      std::to_string(base)),
            1U)
      << json.out;
  const Finished table = admin(workspace, {"status"});
  EXPECT_EQ(table.code, 0);
  EXPECT_NE(table.out.find("main: pid "), std::string::npos);
  EXPECT_NE(table.out.find(std::to_string(base + 1) + "\tcapture\tstream\tup\t"), std::string::npos)
      << table.out;
  EXPECT_EQ(table.out.find('\x1b'), std::string::npos) << "colours are for terminals";
}

TEST(Admin, StatusCountsADeathAndSaysHow) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  ::kill(server.worker(port), SIGKILL);
  ASSERT_TRUE(server.wait_for_err("restart 1\n"));
  EXPECT_EQ(count(json_of(workspace, "status"),
                  "\"generation\":2,\"restarts\":1,\"last_death\":\"was killed by signal 9 "
                  "\\(Killed\\)\""),
            1U)
      << json_of(workspace, "status");
}

/// A directory with our stream-serverd and the misbehaving worker beside it.
struct MisbehavingServer {
  MisbehavingServer(std::uint16_t base, unsigned ports, const std::string& how)
      : program(
            start(base, ports),
            {workspace.path().string(), {"FAKE_WORKER=" + std::to_string(base) + ":" + how}, ""}) {}

  std::vector<std::string> start(std::uint16_t base, unsigned ports) const {
    fs::copy_file(built("stream-serverd"), workspace.path() / "stream-serverd");
    fs::copy_file(FAKE_WORKER, workspace.path() / "stream-worker");
    workspace.write("c.toml", config(base, ports) + "[restart]\nprobe_interval = \"1h\"\n");
    return {workspace / "stream-serverd", "--runtime-dir", workspace / "run", "-c", "c.toml"};
  }

  Workspace workspace;
  Program program;
};

TEST(Admin, StatusExits1AndNamesAPortThatIsDown) {
  const auto base = free_ports(2);
  MisbehavingServer server(base, 2, "exit-78");
  ASSERT_TRUE(server.program.wait_for_err("1 of 2 ports up")) << server.program.err();
  const Finished status = admin(server.workspace, {"status"});
  EXPECT_EQ(status.code, 1);
  EXPECT_NE(status.out.find("1 of 2 ports up"), std::string::npos) << status.out;
  EXPECT_NE(status.out.find("Port " + std::to_string(base) +
                            " is not served: the worker exited with code 78"),
            std::string::npos)
      << status.out;
  EXPECT_EQ(count(json_of(server.workspace, "status"), "\"state\":\"quarantined\""), 1U);
}

TEST(Admin, ResumeTriesAQuarantinedPortAtOnce) {
  const auto base = free_ports(1);
  MisbehavingServer server(base, 1, "exit-78");
  ASSERT_TRUE(server.program.wait_for_err("quarantined"));
  const Finished failed = admin(server.workspace, {"resume", std::to_string(base)});
  EXPECT_EQ(failed.code, 1) << failed.err;
  EXPECT_NE(failed.err.find("is quarantined: the worker exited with code 78"), std::string::npos)
      << failed.err;
  EXPECT_TRUE(server.program.wait_for_err("quarantined: it stays bound", 2));
}

TEST(Admin, ResumeLeavesAPortAloneThatIsServed) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  const Finished resume = admin(workspace, {"resume", std::to_string(port)});
  EXPECT_EQ(resume.code, 0);
  EXPECT_EQ(resume.out, "port " + std::to_string(port) + " is not held back, it is up\n");
  EXPECT_EQ(admin(workspace, {"resume", std::to_string(port + 1)}).code, 64);
  EXPECT_EQ(admin(workspace, {"restart", std::to_string(port + 1)}).code, 64);
}

TEST(Admin, ConnectionsShowsWhatNetstatWouldAndMore) {
  Workspace workspace;
  const auto base = free_ports(2);
  workspace.write("c.toml", config(base, 2));
  Server server(workspace, {"-c", "c.toml"});
  const Client first("127.0.0.1", base);
  const Client second("127.0.0.1", base);
  const Client third("127.0.0.1", static_cast<std::uint16_t>(base + 1));
  third.send("0123456789");
  ASSERT_TRUE(status_becomes(workspace, "\"connections\":2.*\"bytes\":10"));
  const std::string local = SocketAddress::local_of(third.fd()).to_string();
  const std::string id = std::to_string(base + 1) + "-1";
  const Finished json = admin(workspace, {"connections", "--json"});
  EXPECT_EQ(json.code, 0);
  EXPECT_EQ(count(json.out, "\"id\":"), 3U) << json.out;
  EXPECT_EQ(count(json.out,
                  "\\{\"id\":\"" + id +
                      "\",\"service\":\"capture\",\"protocol\":\"stream\",\"local\":\"127.0.0.1:" +
                      std::to_string(base + 1) + "\",\"peer\":\"" + local +
                      "\",\"state\":\"ESTABLISHED\",\"recv_q\":0,\"send_q\":0,\"pid\":" +
                      std::to_string(server.worker(static_cast<std::uint16_t>(base + 1))) +
                      ",\"bytes\":10,\"age_s\":[0-9]+\\}"),
            1U)
      << json.out;
  EXPECT_TRUE(
      admin(workspace, {"connections"})
          .out.starts_with("Proto\tRecv-Q\tSend-Q\tLocal Address\tForeign Address\tState\t"));

  const auto rows = [&](std::vector<std::string> filter) {
    filter.insert(filter.begin(), {"connections", "--json"});
    return count(admin(workspace, filter).out, "\"id\":");
  };
  EXPECT_EQ(rows({"--port", std::to_string(base)}), 2U);
  EXPECT_EQ(rows({"--port", std::to_string(base + 5)}), 0U);
  EXPECT_EQ(rows({"--service", "capture"}), 3U);
  EXPECT_EQ(rows({"--service", "other"}), 0U);
  EXPECT_EQ(rows({"--peer", "127.0.0.1"}), 3U);
  EXPECT_EQ(rows({"--peer", local}), 1U);
  EXPECT_EQ(rows({"--peer", "127.0.0.2"}), 0U);
}

/// "STATE RECV-Q SEND-Q LOCAL PEER" of each line, sorted.
std::vector<std::string> as_ss_says(std::uint16_t port) {
  std::istringstream lines(
      run_program({"ss", "-Htn", "sport", "=", ":" + std::to_string(port)}).out);
  std::vector<std::string> rows;
  std::string state, received, queued, local, peer;
  while (lines >> state >> received >> queued >> local >> peer)
    rows.push_back((state == "ESTAB"        ? "ESTABLISHED"
                    : state == "CLOSE-WAIT" ? "CLOSE_WAIT"
                                            : state) +
                   " " + received + " " + queued + " " + local + " " + peer);
  std::sort(rows.begin(), rows.end());
  return rows;
}

std::vector<std::string> as_we_say(const Workspace& workspace) {
  std::istringstream lines(admin(workspace, {"connections"}).out);
  std::vector<std::string> rows;
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream columns(line);
    std::string proto, received, queued, local, peer, state;
    columns >> proto >> received >> queued >> local >> peer >> state;
    rows.push_back(state + " " + received + " " + queued + " " + local + " " + peer);
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

TEST(Admin, ConnectionsAgreesWithSs) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(std::make_unique<Client>("127.0.0.1", port));
  ASSERT_TRUE(status_becomes(workspace, "\"connections\":20"));
  // What arrives while the worker sleeps stays in the queues, and so do FINs.
  ::kill(server.worker(port), SIGSTOP);
  for (std::size_t i = 0; i < 10; ++i)
    ASSERT_TRUE(clients[i]->send(std::string(100 * (i + 1), 'x')));
  for (std::size_t i = 5; i < 8; ++i) clients[i]->half_close();
  const std::vector<std::string> expected = as_ss_says(port);
  EXPECT_EQ(expected.size(), 20U);
  EXPECT_EQ(as_we_say(workspace), expected);
  ::kill(server.worker(port), SIGCONT);
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

TEST(Admin, KillResetsExactlyThatConnectionAndCountsIt) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  const Client first("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("connection 1)"));
  const Client second("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("connection 2)"));
  const std::string id = std::to_string(port) + "-1";
  const Finished kill = admin(workspace, {"kill", id});
  EXPECT_EQ(kill.code, 0) << kill.err;
  EXPECT_EQ(kill.out, "connection " + id + " is reset\n");
  char byte = 0;
  ASSERT_TRUE(first.wait_for_close());
  EXPECT_TRUE(server.wait_for_err("connection 1, 0 bytes, killed)")) << server.err();
  EXPECT_FALSE(second.wait_for_close(std::chrono::milliseconds(0)));
  EXPECT_TRUE(second.send("goes on"));
  EXPECT_TRUE(status_becomes(workspace, "\"connections\":1,\"accepted\":2,\"bytes\":7"));
  EXPECT_EQ(::recv(first.fd(), &byte, 1, 0), 0) << "the error was taken by wait_for_close";
  EXPECT_EQ(admin(workspace, {"kill", id}).code, 64) << "it is gone";
  EXPECT_EQ(admin(workspace, {"kill", "x"}).code, 64);
  EXPECT_EQ(count(server.err(), ", killed\\)"), 1U);
}

TEST(Admin, AKillIsHonouredByTheNextWorkerIfThereIsNone) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  const Client victim("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("connection 1)"));
  const Client other("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("connection 2)"));
  ::kill(server.worker(port), SIGSTOP);  // it cannot hear the signal
  EXPECT_EQ(admin(workspace, {"kill", std::to_string(port) + "-1"}).code, 0);
  ::kill(server.worker(port), SIGKILL);
  EXPECT_TRUE(victim.wait_for_close());
  EXPECT_TRUE(server.wait_for_err("connection 1, 0 bytes, killed)")) << server.err();
  EXPECT_FALSE(other.wait_for_close(std::chrono::milliseconds(0)));
}

TEST(Admin, RestartReplacesTheWorkerAndNoConnectionNotices) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  client.send("before ");
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  const pid_t before = server.worker(port);
  const Finished restart = admin(workspace, {"restart", std::to_string(port)});
  EXPECT_EQ(restart.code, 0) << restart.err;
  EXPECT_NE(restart.out.find("is up (connections: 1)"), std::string::npos) << restart.out;
  EXPECT_NE(server.worker(port), before);
  client.send("after");
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(file_content(only_file(workspace.path() / "output", "stream_")), "before after");
  EXPECT_EQ(count(json_of(workspace, "status"), "\"restarts\":0,\"last_death\":\"\""), 1U)
      << "nothing has died";
}

TEST(Admin, ReloadSaysWhetherItWasAppliedAndWhyNot) {
  Workspace workspace;
  const auto base = free_ports(2);
  workspace.write("c.toml", config(base, 1));
  Server server(workspace, {"-c", "c.toml"});
  workspace.write("c.toml", config(base, 1, "nonsense = 1\n"));
  Finished reload = admin(workspace, {"reload"});
  EXPECT_EQ(reload.code, 78);
  EXPECT_EQ(reload.out, "");
  EXPECT_EQ(count(reload.err, "^c\\.toml:9:1: service\\.nonsense: unknown key"), 1U) << reload.err;
  EXPECT_NE(reload.err.find("Reload refused: everything goes on as before\n"), std::string::npos);

  const UniqueFd taken =
      listen_on(*SocketAddress::from_host("127.0.0.1", static_cast<std::uint16_t>(base + 1)), 1);
  workspace.write("c.toml", config(base, 2));
  reload = admin(workspace, {"reload"});
  EXPECT_EQ(reload.code, 69);
  EXPECT_NE(reload.err.find(std::to_string(base + 1) + ": Address already in use"),
            std::string::npos)
      << reload.err;
  EXPECT_EQ(count(json_of(workspace, "status"), "\"port\":"), 1U);

  workspace.write("c.toml", config(base, 1, "max_connections = 7\n"));
  reload = admin(workspace, {"reload"});
  EXPECT_EQ(reload.code, 0) << reload.err;
  EXPECT_EQ(reload.out, "main: Reloaded\n");
}

TEST(Admin, StopWaitsForTheEnd) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  client.send("stored");
  const Finished stop = admin(workspace, {"stop"});
  EXPECT_EQ(stop.code, 0) << stop.err;
  EXPECT_EQ(stop.out, "main: stopping\nmain: stopped\n");
  EXPECT_EQ(server.program().wait(std::chrono::milliseconds(0)).value_or(-1), 0) << "already ended";
  EXPECT_EQ(file_content(only_file(workspace.path() / "output", "stream_")), "stored");
  EXPECT_FALSE(fs::exists(workspace.path() / "run/main"));
}

TEST(Admin, DrainLetsConnectionsEndByThemselves) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  client.send("a");
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  Program drain({built("stream-serverd"), "--runtime-dir", workspace / "run", "drain"});
  ASSERT_TRUE(server.wait_for_err("Shutting down server..."));
  EXPECT_TRUE(drain.running());
  client.send("b");
  client.half_close();
  EXPECT_EQ(drain.wait().value_or(-1), 0);
  EXPECT_EQ(drain.out(), "main: draining\nmain: stopped\n");
  EXPECT_EQ(file_content(only_file(workspace.path() / "output", "stream_")), "ab");
}

TEST(Admin, SeveralInstancesAreListed) {
  Workspace workspace;
  const auto base = free_ports(2);
  workspace.write("one.toml", config(base, 1, "", "name = \"one\""));
  workspace.write("two.toml",
                  config(static_cast<std::uint16_t>(base + 1), 1, "", "name = \"two\""));
  Server one(workspace, {"-c", "one.toml"});
  EXPECT_EQ(admin(workspace, {"status"}).code, 0) << "the only one needs no name";
  Server two(workspace, {"-c", "two.toml"});
  const Finished status = admin(workspace, {"status"});
  EXPECT_EQ(status.code, 64);
  EXPECT_EQ(status.err,
            "stream-serverd: several instances are running, choose one by --name: one, two\n");
  EXPECT_NE(admin(workspace, {"status", "--name", "two"}).out.find("two: pid "), std::string::npos);
  EXPECT_EQ(one.stop(SIGKILL), 128 + SIGKILL);
  EXPECT_NE(admin(workspace, {"status"}).out.find("two: pid "), std::string::npos)
      << "what a dead one left does not count";
  EXPECT_EQ(admin(workspace, {"status", "--name", "one"}).code, 3);
}

TEST(Admin, TheSocketIsForOwnerAndGroupAndSpeaksToSocat) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  struct stat status {};
  ASSERT_EQ(::stat(socket_of(workspace).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0660U);
  EXPECT_TRUE(by_socat(workspace, "{\"command\":\"status\"}").starts_with("{\"name\":\"main\""));
  EXPECT_TRUE(by_socat(workspace, "nonsense").starts_with("{\"error\":\"not a request"));
  EXPECT_TRUE(
      by_socat(workspace, std::string(10'000, 'x')).starts_with("{\"error\":\"a request has"));
  EXPECT_EQ(count(by_socat(workspace, "{\"command\":\"status\"}\n{\"command\":\"status\"}"),
                  "\"name\":\"main\""),
            2U);
}

TEST(Admin, OthersAreRefused) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root";
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  fs::permissions(workspace.path() / "run", fs::perms(0755));
  for (const char* directory_mode : {"0710", "0711"}) {
    fs::permissions(workspace.path() / "run/main",
                    fs::perms(std::stoul(directory_mode, nullptr, 8)));
    const Finished refused =
        run_program({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                     built("stream-serverd"), "--runtime-dir", workspace / "run", "status"});
    EXPECT_EQ(refused.code, 77) << refused.err;
    EXPECT_NE(refused.err.find("control.sock: Permission denied"), std::string::npos)
        << refused.err;
  }
  const Finished member =
      run_program({"setpriv", "--reuid=65534", "--regid=0", "--clear-groups",
                   built("stream-serverd"), "--runtime-dir", workspace / "run", "status"});
  EXPECT_EQ(member.code, 0) << member.err;
}

TEST(Admin, AnswersAfterAnUpgradeInPlace) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  client.send("hello");
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  struct stat before {};
  ASSERT_EQ(::stat(socket_of(workspace).c_str(), &before), 0);
  server.program().signal(SIGUSR2);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(admin(workspace, {"status"}).err, "") << "at any moment";
  ASSERT_TRUE(server.wait_for_err("Upgrade complete")) << server.err();
  struct stat after {};
  ASSERT_EQ(::stat(socket_of(workspace).c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino) << "the same socket";
  EXPECT_EQ(count(json_of(workspace, "status"), "\"service\":\"capture\""), 1U);
  EXPECT_EQ(count(json_of(workspace, "connections"), std::to_string(port) + "-1"), 1U);
  EXPECT_EQ(admin(workspace, {"kill", std::to_string(port) + "-1"}).code, 0);
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(admin(workspace, {"stop"}).code, 0);
}

TEST(Admin, WatchShowsItAgainUntilTheDaemonIsGone) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, 1));
  Server server(workspace, {"-c", "c.toml"});
  Program watch({built("stream-serverd"), "--runtime-dir", workspace / "run", "connections",
                 "--json", "--watch", "0.1"});
  EXPECT_TRUE(eventually([&] { return count(watch.out(), "\\[\\]\n") >= 3; })) << watch.out();
  EXPECT_EQ(admin(workspace, {"stop"}).code, 0);
  EXPECT_EQ(watch.wait().value_or(-1), 3) << watch.err();
}

}  // namespace
}  // namespace serverd::test
