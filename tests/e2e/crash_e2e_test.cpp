#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <thread>

#include <sys/socket.h>

namespace serverd::test {
namespace {

namespace fs = std::filesystem;

std::string config(std::uint16_t port, const std::string& service = "",
                   const std::string& restart = "rate = 1000") {
  return "[daemon]\nuser = \"\"\n[restart]\n" + restart +
         "\n[[service]]\nname = \"capture\"\nprotocol = \"stream\"\noutput = \"output\"\n"
         "listen = [\"127.0.0.1:" +
         std::to_string(port) + "\"]\n" + service + "\n";
}

/// The pid of a worker's keeper, its only child.
pid_t keeper_of(pid_t worker) {
  pid_t keeper = 0;
  eventually([&] {
    const auto children = children_of(worker);
    keeper = children.empty() ? 0 : children.front();
    return keeper != 0;
  });
  return keeper;
}

std::string port_file(const Workspace& workspace, std::uint16_t port) {
  return only_file(workspace.path() / "output", "stream_" + std::to_string(port) + "_");
}

TEST(Crash, NoConnectionNoticesItsWorkersDeath) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  const Client idle("127.0.0.1", port);
  const Client client("127.0.0.1", port);
  std::string sent;
  for (int i = 1; i <= 20; ++i) {
    const std::string bytes = pattern(50'000, static_cast<unsigned>(i));
    ASSERT_TRUE(client.send(bytes));
    sent += bytes;
    ::kill(server.worker(port), SIGKILL);
    ASSERT_TRUE(server.wait_for_err("restart " + std::to_string(i) + "\n")) << server.err();
  }
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_TRUE(file_content(port_file(workspace, port)) == sent);
  EXPECT_FALSE(idle.wait_for_close(std::chrono::milliseconds(0))) << "the idle one is still open";
  EXPECT_EQ(server.stop(SIGTERM), 0);
  EXPECT_EQ(server.err().find("out of step"), std::string::npos);
  EXPECT_EQ(server.err().find("lost"), std::string::npos);
}

/// Kills at random moments while clients send; returns how often.
int kill_while(const Server& server, std::uint16_t port, const std::atomic<bool>& busy,
               int signal) {
  std::minstd_rand random(1);
  int kills = 0;
  while (busy) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
    const pid_t worker = server.worker(port);
    if (worker != 0 && !children_of(worker).empty() && ::kill(worker, signal) == 0) ++kills;
  }
  return kills;
}

TEST(Crash, EveryByteIsStoredOnceUnderRandomKills) {
  for (const char* files : {"per-port", "per-connection"}) {
    Workspace workspace;
    const auto port = free_ports(1);
    workspace.write("c.toml", config(port, std::string("files = \"") + files + "\"",
                                     "rate = 1000\nquarantine_after = 1000\ninitial = \"1ms\"\n"
                                     "maximum = \"2ms\""));
    Server server(workspace, {"-c", "c.toml"});
    constexpr int kClients = 8;
    std::vector<std::string> sent(kClients);
    std::atomic<int> done = 0;
    std::atomic<bool> busy = true;
    std::vector<std::thread> senders;
    for (int i = 0; i < kClients; ++i) {
      senders.emplace_back([&, i] {
        std::minstd_rand random(static_cast<unsigned>(i));
        const Client client("127.0.0.1", port);
        for (int round = 0; round < 400; ++round) {
          // The upper half of each byte tells whose it is.
          std::string bytes(1 + random() % (i % 2 == 0 ? 300 : 200'000), '\0');
          for (char& byte : bytes) byte = static_cast<char>(i << 4 | (random() & 15));
          ASSERT_TRUE(client.send(bytes));
          sent[static_cast<std::size_t>(i)] += bytes;
        }
        client.half_close();
        EXPECT_TRUE(client.wait_for_close(Seconds(60)));
        if (++done == kClients) busy = false;
      });
    }
    const int kills = kill_while(server, port, busy, SIGKILL);
    for (std::thread& sender : senders) sender.join();
    EXPECT_EQ(server.stop(SIGTERM), 0);
    std::vector<std::string> saved(kClients);
    for (const auto& entry : fs::directory_iterator(workspace.path() / "output"))
      for (const char byte : file_content(entry.path()))
        saved[static_cast<unsigned char>(byte) >> 4] += byte;
    for (std::size_t i = 0; i < kClients; ++i)
      EXPECT_TRUE(saved[i] == sent[i]) << files << ", client " << i << ": " << sent[i].size()
                                       << " bytes sent, " << saved[i].size() << " saved";
    EXPECT_GE(kills, 10);
    EXPECT_EQ(server.err().find("out of step"), std::string::npos) << server.err();
  }
}

TEST(Crash, NoNewcomerIsLost) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "",
                                   "rate = 1000\nquarantine_after = 1000\n"
                                   "initial = \"1ms\"\nmaximum = \"2ms\""));
  Server server(workspace, {"-c", "c.toml"});
  std::atomic<bool> busy = true;
  constexpr int kConnections = 1500;
  std::thread clients([&] {
    for (int i = 0; i < kConnections; ++i) {
      const Client client("127.0.0.1", port);
      EXPECT_TRUE(client.send("0123456789"));
      client.half_close();
      EXPECT_TRUE(client.wait_for_close());
    }
    busy = false;
  });
  kill_while(server, port, busy, SIGKILL);
  clients.join();
  EXPECT_EQ(server.stop(SIGTERM), 0);
  EXPECT_EQ(file_content(port_file(workspace, port)).size(), 10U * kConnections);
}

TEST(Crash, AHungWorkerIsReplacedWithItsConnections) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "", "watchdog = \"300ms\""));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("before,"));
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  ::kill(server.worker(port), SIGSTOP);
  ASSERT_TRUE(client.send("after"));
  EXPECT_TRUE(server.wait_for_err("hangs (watchdog), sent signal 6")) << server.err();
  EXPECT_TRUE(server.wait_for_err("is up, restart 1")) << server.err();
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, port)), "before,after");
}

TEST(Crash, AHealthyIdleWorkerIsLeftAloneByTheWatchdog) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "", "watchdog = \"800ms\""));
  Server server(workspace, {"-c", "c.toml"});
  const pid_t worker = server.worker(port);
  std::this_thread::sleep_for(Seconds(3));
  EXPECT_EQ(server.worker(port), worker);
}

TEST(Crash, ADeadKeeperIsReplaced) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("New connection"));
  const pid_t worker = server.worker(port);
  const pid_t keeper = keeper_of(worker);
  ::kill(keeper, SIGKILL);
  ASSERT_TRUE(server.wait_for_err("The keeper process")) << server.err();
  ASSERT_TRUE(eventually([&] {
    const auto children = children_of(worker);
    return children.size() == 1 && children.front() != keeper;
  }));
  ::kill(worker, SIGKILL);
  ASSERT_TRUE(server.wait_for_err("is up, restart 1"));
  ASSERT_TRUE(client.send("alive"));
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, port)), "alive");
}

TEST(Crash, AWorkerThatLeavesAfterItsKeeperDiedMakesAnotherFirst) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("before,"));
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  const pid_t worker = server.worker(port);
  const pid_t keeper = keeper_of(worker);
  // So that it finds both at once: the end of its keeper, and that it is to leave.
  ASSERT_EQ(::kill(worker, SIGSTOP), 0);
  ASSERT_EQ(::kill(keeper, SIGKILL), 0);
  ASSERT_EQ(::kill(worker, SIGUSR2), 0);
  ASSERT_EQ(::kill(worker, SIGCONT), 0);
  ASSERT_TRUE(eventually([&] {
    const pid_t now = server.worker(port);
    return now != 0 && now != worker;
  }));
  ASSERT_TRUE(client.send("after"));
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, port)), "before,after");
}

TEST(Crash, AStoppedKeeperIsWoken) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("New connection"));
  const pid_t worker = server.worker(port);
  ::kill(keeper_of(worker), SIGSTOP);
  ::kill(worker, SIGKILL);
  ASSERT_TRUE(server.wait_for_err("takes long, waking it")) << server.err();
  ASSERT_TRUE(server.wait_for_err("is up, restart 1"));
  ASSERT_TRUE(client.send("alive"));
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, port)), "alive");
}

TEST(Crash, LosesConnectionsOnlyIfWorkerAndKeeperDieTogetherAndSaysSo) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("New connection"));
  const pid_t worker = server.worker(port);
  const pid_t keeper = keeper_of(worker);
  ::kill(worker, SIGSTOP);
  ::kill(keeper, SIGKILL);
  ::kill(worker, SIGKILL);
  EXPECT_TRUE(server.wait_for_err("was lost with its worker")) << server.err();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_TRUE(Client("127.0.0.1", port).send("x")) << "the port goes on";
}

TEST(Crash, StoresWhatADeadWorkerHadReceivedWhenTheDaemonIsStopped) {
  for (int round = 0; round < 20; ++round) {
    Workspace workspace;
    const auto port = free_ports(1);
    workspace.write("c.toml", config(port));
    Server server(workspace, {"-c", "c.toml"});
    const Client client("127.0.0.1", port);
    const std::string sent = pattern(30'000, 9);
    ASSERT_TRUE(server.wait_for_err("New connection"));
    ::kill(server.worker(port), SIGSTOP);
    ASSERT_TRUE(client.send(sent));
    ASSERT_TRUE(client.wait_until_acknowledged());
    ::kill(server.worker(port), SIGKILL);
    ASSERT_EQ(server.stop(SIGTERM), 0);
    EXPECT_TRUE(file_content(port_file(workspace, port)) == sent) << server.err();
  }
}

TEST(Crash, NoWorkerIsStartedAgainWhenAPortWithoutConnectionsStops) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  ::kill(server.worker(port), SIGKILL);
  ASSERT_TRUE(server.wait_for_err("is up, restart 1"));
  EXPECT_EQ(server.stop(SIGTERM), 0);
  EXPECT_EQ(server.err().find("restart 2"), std::string::npos) << server.err();
  EXPECT_EQ(server.err().find("given up"), std::string::npos) << server.err();
}

TEST(Crash, UrgentDataThatWaitedInTheBacklogIsKept) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  ::kill(server.worker(port), SIGSTOP);
  const Client client("127.0.0.1", port);
  for (const char* byte : {"a", "b", "c", "d"}) ASSERT_TRUE(client.send(byte, MSG_OOB));
  ASSERT_TRUE(client.wait_until_acknowledged());
  ::kill(server.worker(port), SIGKILL);
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, port)), "abcd");
}

TEST(Crash, ThousandsOfConnectionsSurvive) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "max_connections = 6000"));
  Server server(workspace, {"-c", "c.toml"});
  constexpr std::size_t kConnections = 5000;
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < kConnections; ++i) {
    clients.push_back(std::make_unique<Client>("127.0.0.1", port));
    if (i % 100 == 0) {
      ASSERT_TRUE(clients.back()->send("a"));
    }
  }
  ASSERT_TRUE(server.wait_for_err("New connection", kConnections));
  ::kill(server.worker(port), SIGKILL);
  ASSERT_TRUE(server.wait_for_err("is up, restart 1"));
  for (const auto& client : clients) ASSERT_TRUE(client->send("b"));
  for (const auto& client : clients) client->half_close();
  for (const auto& client : clients) ASSERT_TRUE(client->wait_for_close());
  const std::string file = file_content(port_file(workspace, port));
  EXPECT_EQ(file.size(), kConnections + kConnections / 100);
  EXPECT_EQ(server.err().find("lost"), std::string::npos);
}

TEST(Reload, LeavesUnchangedPortsAloneAndTakesConnectionsAlong) {
  Workspace workspace;
  const auto base = free_ports(3);
  const auto next = static_cast<std::uint16_t>(base + 1);
  const auto added = static_cast<std::uint16_t>(base + 2);
  const auto text = [&](const std::string& second, const std::string& third) {
    return config(base) +
           "\n[[service]]\nname = \"two\"\nprotocol = \"stream\"\noutput = \"output\"\n" +
           "listen = [\"127.0.0.1:" + std::to_string(next) + "\"]\n" + second + third;
  };
  workspace.write("c.toml", text("", ""));
  Server server(workspace, {"-c", "c.toml"});
  const Client first("127.0.0.1", base);
  const Client second("127.0.0.1", next);
  ASSERT_TRUE(second.send("before,"));
  ASSERT_TRUE(server.wait_for_err("Created output file", 2));
  const pid_t first_worker = server.worker(base);
  const pid_t second_worker = server.worker(next);

  workspace.write("c.toml",
                  text("max_connections = 10\nidle_timeout = \"1h\"\n",
                       "[[service]]\nname = \"three\"\nprotocol = \"stream\"\noutput = \"output\"\n"
                       "listen = [\"127.0.0.1:" +
                           std::to_string(added) + "\"]\n"));
  server.program().signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_err("Reloaded")) << server.err();
  ASSERT_TRUE(server.wait_for_err("Port " + std::to_string(next) + ": worker")) << server.err();
  EXPECT_EQ(server.worker(base), first_worker);
  EXPECT_NE(server.worker(next), second_worker);
  ASSERT_TRUE(second.send("after"));
  second.half_close();
  EXPECT_TRUE(second.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, next)), "before,after");
  EXPECT_TRUE(Client("127.0.0.1", added).send("new"));

  workspace.write("c.toml", text("max_connections = 10\nidle_timeout = \"1h\"\n", ""));
  const Client last("127.0.0.1", added);
  ASSERT_TRUE(last.send("last"));
  server.program().signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_err("no longer configured")) << server.err();
  EXPECT_TRUE(eventually([&] {
    try {
      const Client refused("127.0.0.1", added);
      return false;
    } catch (const std::system_error&) {
      return true;
    }
  })) << "a removed port stops accepting";
  ASSERT_TRUE(last.send("words"));
  last.half_close();
  EXPECT_TRUE(last.wait_for_close()) << "but its connections end by themselves";
  EXPECT_TRUE(eventually([&] { return server.worker(added) == 0; }));
  EXPECT_EQ(file_content(port_file(workspace, added)), "newlastwords");
}

TEST(Reload, RefusesAConfigThatIsWrongOrCannotBeApplied) {
  Workspace workspace;
  const auto base = free_ports(2);
  workspace.write("c.toml", config(base));
  Server server(workspace, {"-c", "c.toml"});
  const pid_t worker = server.worker(base);
  workspace.write("c.toml", "nonsense = 1\n" + config(base));
  server.program().signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_err("Reload refused", 1));
  EXPECT_NE(server.err().find("c.toml:1:1: "), std::string::npos) << server.err();
  const auto taken = static_cast<std::uint16_t>(base + 1);
  const Workspace other_workspace;
  Server other(other_workspace, {"stream", "127.0.0.1", std::to_string(taken), "1"});
  workspace.write("c.toml", config(base, "idle_timeout = \"5s\"") +
                                "\n[[service]]\nname = \"two\"\nprotocol = \"stream\"\n"
                                "output = \"output\"\nlisten = [\"127.0.0.1:" +
                                std::to_string(taken) + "\"]\n");
  server.program().signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_err("Reload refused", 2)) << server.err();
  EXPECT_NE(server.err().find(std::to_string(taken) + ": Address already in use"),
            std::string::npos);
  EXPECT_EQ(server.worker(base), worker) << "nothing was touched";
}

TEST(Reload, ConnectionsOfARemovedPortSurviveItsWorkersDeath) {
  Workspace workspace;
  const auto base = free_ports(2);
  const auto kept = static_cast<std::uint16_t>(base + 1);
  workspace.write("c.toml", config(base));
  Server server(workspace, {"-c", "c.toml"});
  const Client client("127.0.0.1", base);
  ASSERT_TRUE(client.send("before,"));
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  workspace.write("c.toml", config(kept));
  server.program().signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_err("Reloaded")) << server.err();
  for (int i = 1; i <= 3; ++i) {
    const pid_t worker = server.worker(base);
    ::kill(worker, SIGKILL);
    ASSERT_TRUE(eventually([&] {
      const pid_t next = server.worker(base);
      return next != 0 && next != worker && !children_of(next).empty();
    })) << server.err();
    ASSERT_TRUE(client.send("after " + std::to_string(i) + ","));
  }
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, base)), "before,after 1,after 2,after 3,");
  EXPECT_TRUE(eventually([&] { return server.worker(base) == 0; })) << "then the port is gone";
  EXPECT_EQ(server.err().find("lost"), std::string::npos) << server.err();
}

/// Five seconds, or as many as the long form (./dev reload-storm) asks for.
int storm_seconds() {
  const char* variable = std::getenv("RELOAD_STORM_SECONDS");
  return variable == nullptr ? 5 : std::max(1, std::atoi(variable));
}

TEST(Reload, AStormLosesNothing) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  std::atomic<bool> busy = true;
  std::string sent;
  std::thread sender([&] {
    const Client client("127.0.0.1", port);
    for (unsigned i = 0; busy; ++i) {
      const std::string bytes = pattern(20'000, i);
      ASSERT_TRUE(client.send(bytes));
      sent += bytes;
    }
    client.half_close();
    EXPECT_TRUE(client.wait_for_close());
  });
  const int reloads = storm_seconds() * 10;
  for (int i = 0; i < reloads; ++i) {
    workspace.write("c.toml", config(port, "max_connections = " + std::to_string(100 + i % 7)));
    server.program().signal(SIGHUP);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  busy = false;
  sender.join();
  EXPECT_TRUE(file_content(port_file(workspace, port)) == sent);
  EXPECT_EQ(server.err().find("out of step"), std::string::npos);
  EXPECT_EQ(server.err().find("refused"), std::string::npos) << server.err();
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

TEST(Reload, AChangeOfProtocolLetsConnectionsEndAsTheyBegan) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  const Client old_client("127.0.0.1", port);
  ASSERT_TRUE(old_client.send("to the shared file,"));
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  workspace.write("c.toml",
                  "[daemon]\nuser = \"\"\n[[service]]\nname = \"capture\"\n"
                  "protocol = \"accio\"\noutput = \"files\"\nlisten = [\"127.0.0.1:" +
                      std::to_string(port) + "\"]\n");
  server.program().signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_err("changes from stream to accio")) << server.err();
  ASSERT_TRUE(server.wait_for_err("Reloaded")) << server.err();
  ASSERT_TRUE(eventually([&] {
    const Client new_client("127.0.0.1", port);  // never refused
    return new_client.send("a file") && server.err().find("files/1.file") != std::string::npos;
  })) << server.err();
  ASSERT_TRUE(old_client.send("and more"));
  old_client.half_close();
  ASSERT_TRUE(old_client.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, port)).substr(0, 19), "to the shared file,");
  EXPECT_TRUE(file_content(port_file(workspace, port)).ends_with("and more"));
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

/// Our programs copied to where a test can replace them.
class Installed final {
 public:
  explicit Installed(const Workspace& workspace) : directory_(workspace.path() / "bin") {
    fs::create_directory(directory_);
    for (const char* name : {"stream-serverd", "stream-worker"}) put(built(name), name);
  }
  std::string serverd() const { return (directory_ / "stream-serverd").string(); }
  /// As a package manager does: a new file in the old one's place.
  void put(const std::string& file, const std::string& name) const {
    fs::copy_file(file, directory_ / "new");
    fs::rename(directory_ / "new", directory_ / name);
  }

 private:
  fs::path directory_;
};

TEST(Upgrade, KeepsPidAndConnectionsAndReplacesEveryWorker) {
  Workspace workspace;
  const Installed installed(workspace);
  const auto base = free_ports(3);
  Program server({installed.serverd(), "--runtime-dir", workspace / "run", "stream", "127.0.0.1",
                  std::to_string(base), "3"},
                 {workspace.path().string(), {}, ""});
  ASSERT_TRUE(server.wait_for_err("ports up"));
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::string> sent(3);
  const auto send_all = [&](unsigned seed) {
    for (unsigned i = 0; i < 3; ++i) {
      const std::string bytes = pattern(100'000, seed + i);
      ASSERT_TRUE(clients[i]->send(bytes));
      sent[i] += bytes;
    }
  };
  for (unsigned i = 0; i < 3; ++i)
    clients.push_back(std::make_unique<Client>("127.0.0.1", static_cast<std::uint16_t>(base + i)));
  for (int round = 1; round <= 5; ++round) {
    send_all(static_cast<unsigned>(round) * 10);
    auto before = children_of(server.pid());
    installed.put(built("stream-serverd"), "stream-serverd");
    installed.put(built("stream-worker"), "stream-worker");
    server.signal(SIGUSR2);
    send_all(static_cast<unsigned>(round) * 10 + 5);
    ASSERT_TRUE(server.wait_for_err("Upgrade complete", round)) << server.err();
    for (const pid_t pid : children_of(server.pid()))
      EXPECT_EQ(std::count(before.begin(), before.end(), pid), 0) << "an old worker is left";
  }
  ASSERT_TRUE(server.running());
  for (const auto& client : clients) client->half_close();
  for (const auto& client : clients) EXPECT_TRUE(client->wait_for_close());
  EXPECT_TRUE(eventually([&] { return children_of(server.pid()).size() == 3; }))
      << "three workers, and no keeper or check left behind";
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait().value_or(-1), 0) << server.err();
  for (unsigned i = 0; i < 3; ++i)
    EXPECT_TRUE(file_content(port_file(workspace, static_cast<std::uint16_t>(base + i))) ==
                sent[i]);
}

TEST(Upgrade, KeepsAPortThatDrainsApartFromANewOneOfItsNumber) {
  Workspace workspace;
  const auto base = free_ports(2);
  const auto other = static_cast<std::uint16_t>(base + 1);
  workspace.write("c.toml", config(base));
  Server server(workspace, {"-c", "c.toml"});
  const Client drained("127.0.0.1", base);
  ASSERT_TRUE(drained.send("old,"));
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  const std::string old_file = port_file(workspace, base);
  const pid_t old_worker = server.worker(base);
  workspace.write("c.toml", config(other));
  server.program().signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_err("Reloaded")) << server.err();
  workspace.write("c.toml", config(base));
  server.program().signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_err("Reloaded", 2)) << server.err();
  const Client fresh("127.0.0.1", base);
  ASSERT_TRUE(fresh.send("new,"));
  ASSERT_TRUE(server.wait_for_err("Created output file", 2)) << server.err();

  server.program().signal(SIGUSR2);
  ASSERT_TRUE(server.wait_for_err("Upgrade complete")) << server.err();
  EXPECT_EQ(::kill(old_worker, 0), 0) << "the one that drains goes on as it is";
  ASSERT_TRUE(drained.send("upgraded"));
  ASSERT_TRUE(fresh.send("upgraded"));
  for (const Client* client : {&drained, &fresh}) {
    client->half_close();
    EXPECT_TRUE(client->wait_for_close());
  }
  EXPECT_EQ(file_content(old_file), "old,upgraded");
  std::string new_content;
  for (const auto& entry : fs::directory_iterator(workspace.path() / "output"))
    if (entry.path() != old_file) new_content += file_content(entry.path());
  EXPECT_EQ(new_content, "new,upgraded");
  EXPECT_TRUE(eventually([&] { return children_of(server.program().pid()).size() == 1; }))
      << "and is gone when it has drained";
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

TEST(Upgrade, ABrokenNewProgramLeavesTheOldOneRunning) {
  Workspace workspace;
  const Installed installed(workspace);
  const auto port = free_ports(1);
  Program server({installed.serverd(), "--runtime-dir", workspace / "run", "stream", "127.0.0.1",
                  std::to_string(port), "1"},
                 {workspace.path().string(), {}, ""});
  ASSERT_TRUE(server.wait_for_err("ports up"));
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("before,"));
  const auto before = children_of(server.pid());
  installed.put("/bin/false", "stream-serverd");
  server.signal(SIGUSR2);
  EXPECT_TRUE(
      server.wait_for_err("Upgrade refused: the new program cannot take over (exit code 1)"))
      << server.err();
  workspace.write("garbage",
                  "\x7f"
                  "ELF, but no program");
  fs::permissions(workspace.path() / "garbage", fs::perms(0755));
  installed.put(workspace / "garbage", "stream-serverd");
  server.signal(SIGUSR2);
  EXPECT_TRUE(server.wait_for_err("Upgrade refused", 2)) << server.err();
  EXPECT_TRUE(eventually([&] { return children_of(server.pid()) == before; }))
      << "the same worker, and no check left behind";
  ASSERT_TRUE(client.send("after"));
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(file_content(port_file(workspace, port)), "before,after");
  installed.put(built("stream-serverd"), "stream-serverd");
  server.signal(SIGUSR2);
  EXPECT_TRUE(server.wait_for_err("Upgrade complete")) << "and a good one can still follow";
}

TEST(Upgrade, KeepsTheInstanceLockedAndItsConfigReloadable) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  Server server(workspace, {"-c", "c.toml"});
  server.program().signal(SIGUSR2);
  ASSERT_TRUE(server.wait_for_err("Upgrade complete")) << server.err();
  EXPECT_EQ(run_program({built("stream-serverd"), "--runtime-dir", workspace / "run", "-c",
                         workspace / "c.toml"})
                .code,
            69);
  workspace.write("c.toml", config(port, "idle_timeout = \"1h\""));
  server.program().signal(SIGHUP);
  EXPECT_TRUE(server.wait_for_err("takes new settings")) << server.err();
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

}  // namespace
}  // namespace serverd::test
