// Restarts of the whole daemon by its service manager: connections go on.
#include "common/os/error.h"
#include "common/os/socket.h"
#include "common/parcel.h"
#include "tests/e2e/fake_manager.h"
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <functional>
#include <string>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd::test {
namespace {

/// A daemon with one port, each connection to a file of its own, under a service manager.
class Restarts : public testing::Test {
 protected:
  Restarts() { configure(""); }

  void configure(const std::string& daemon) {
    workspace_.write("c.toml", "[daemon]\nuser = \"\"\n" + daemon +
                                   "[[service]]\nname = \"capture\"\nprotocol = \"stream\"\n"
                                   "output = \"output\"\nfiles = \"per-connection\"\n"
                                   "listen = [\"127.0.0.1:" +
                                   std::to_string(port_) + "\"]\n");
  }

  void start() { server_ = manager_.start_up({"-c", "c.toml"}); }

  /// SIGTERM, as for a restart; there is no bus that would say that it is none.
  void restart() {
    server_->signal(SIGTERM);
    ASSERT_EQ(server_->wait().value_or(-1), 0) << server_->err();
    log_ += server_->err();
    start();
  }

  /// SIGKILL of the supervisor, then of all its workers and keepers, as systemd does with what is
  /// left in the unit's control group; or these end by themselves.
  void kill(bool everything) {
    const std::vector<pid_t> workers = children_of(server_->pid());
    server_->signal(SIGKILL);
    if (everything)
      for (const pid_t worker : workers) ::kill(-worker, SIGKILL);
    ASSERT_TRUE(server_->wait());
    for (const pid_t worker : workers)
      ASSERT_TRUE(eventually([&] { return ::kill(-worker, 0) != 0; })) << "a worker stays";
    log_ += server_->err();
  }
  bool wait_until_kept(std::size_t connections) {
    return eventually([&] { return manager_.connections_kept() == connections; });
  }

  std::unique_ptr<Program> load(unsigned connections, unsigned rate) {
    auto program = std::make_unique<Program>(std::vector<std::string>{
        built("steady_load"), std::to_string(port_), std::to_string(connections),
        std::to_string(rate), workspace_ / "output"});
    EXPECT_TRUE(program->wait_for_err("all connected")) << program->err();
    return program;
  }

  /// Until there is more in the files than `before`.
  std::uintmax_t wait_for_progress() {
    const std::uintmax_t before = stored();
    EXPECT_TRUE(eventually([&] { return stored() > before; })) << server_->err();
    return stored();
  }
  std::uintmax_t stored() const {
    std::uintmax_t total = 0;
    std::error_code ignored;
    for (const auto& entry :
         std::filesystem::directory_iterator(workspace_.path() / "output", ignored))
      total += entry.file_size();
    return total;
  }

  /// Five times under traffic: the daemon ends and starts by `renew`, and no byte is lost.
  void go_on_exactly(const std::function<void()>& renew) {
    start();
    const auto traffic = load(50, 30'000'000);
    for (int i = 0; i < 5; ++i) {
      wait_for_progress();
      renew();
      EXPECT_NE(server_->err().find("went on with 50 connections, 0 of them just accepted"),
                std::string::npos)
          << server_->err();
    }
    wait_for_progress();
    traffic->signal(SIGTERM);
    EXPECT_EQ(traffic->wait(Seconds(60)).value_or(-1), 0) << traffic->out() << traffic->err();
    EXPECT_EQ((log_ + server_->err()).find("lost"), std::string::npos) << log_;
  }

  std::string files() const {
    std::string text;
    for (const auto& entry : std::filesystem::directory_iterator(workspace_.path() / "output"))
      text += "[" + file_content(entry.path()) + "]";
    return text;
  }

  Workspace workspace_;
  FakeManager manager_{workspace_};
  std::uint16_t port_ = free_ports(1);
  std::unique_ptr<Program> server_;
  std::string log_;
};

TEST_F(Restarts, FiftyConnectionsUnderTrafficGoOnExactly) {
  go_on_exactly([&] { restart(); });
}

TEST_F(Restarts, NobodyIsRefusedWhileThereIsNoDaemon) {
  start();
  server_->signal(SIGTERM);
  ASSERT_EQ(server_->wait().value_or(-1), 0);
  EXPECT_EQ(children_of(server_->pid()).size(), 0U);
  const Client client("127.0.0.1", port_);  // the listener is in the store
  client.send("waited");
  start();
  EXPECT_TRUE(eventually([&] { return stored() == 6; })) << server_->err();
}

TEST_F(Restarts, WhatHasArrivedIsStoredBeforeTheEnd) {
  start();
  const Client client("127.0.0.1", port_);
  client.send("a");
  ASSERT_TRUE(eventually([&] { return stored() == 1; }));
  client.send("rrived");
  ASSERT_TRUE(client.wait_until_acknowledged());
  server_->signal(SIGTERM);
  ASSERT_EQ(server_->wait().value_or(-1), 0);
  EXPECT_EQ(files(), "[arrived]");
}

TEST_F(Restarts, AStopEndsConnectionsAndLeavesNothingBehind) {
  start();
  const Client client("127.0.0.1", port_);
  client.send("all");
  ASSERT_TRUE(client.wait_until_acknowledged());
  EXPECT_EQ(
      run_program({built("stream-serverd"), "--runtime-dir", workspace_ / "run", "stop"}).code, 0);
  EXPECT_TRUE(client.wait_for_close());
  ASSERT_EQ(server_->wait().value_or(-1), 0);
  EXPECT_EQ(files(), "[all]");
  EXPECT_EQ(manager_.stored(), std::vector<std::string>{});
}

TEST_F(Restarts, AStartThatFailsTakesNothingFromTheNext) {
  start();
  const Client client("127.0.0.1", port_);
  client.send("one ");
  ASSERT_TRUE(client.wait_until_acknowledged());
  server_->signal(SIGTERM);
  ASSERT_EQ(server_->wait().value_or(-1), 0);
  workspace_.write("c.toml", "[daemon]\nuser = 5\n");
  server_ = manager_.start({"-c", "c.toml"});
  EXPECT_EQ(server_->wait().value_or(-1), 78);
  configure("");
  std::filesystem::rename(workspace_.path() / "output", workspace_.path() / "aside");
  workspace_.write("output", "a file in the way");
  server_ = manager_.start({"-c", "c.toml"});
  EXPECT_EQ(server_->wait().value_or(-1), 73);
  std::filesystem::remove(workspace_.path() / "output");
  std::filesystem::rename(workspace_.path() / "aside", workspace_.path() / "output");
  start();
  client.send("two");
  EXPECT_TRUE(eventually([&] { return files() == "[one two]"; })) << files() << server_->err();
}

TEST_F(Restarts, APortThatIsNoLongerConfiguredDrains) {
  start();
  const Client client("127.0.0.1", port_);
  client.send("one ");
  ASSERT_TRUE(eventually([&] { return stored() == 4; }));
  server_->signal(SIGTERM);
  ASSERT_EQ(server_->wait().value_or(-1), 0);
  const std::uint16_t before = std::exchange(port_, free_ports(1));
  configure("");
  start();
  ASSERT_TRUE(server_->wait_for_err("Port " + std::to_string(before) + " is no longer configured"));
  client.send("two");
  EXPECT_TRUE(eventually([&] { return files() == "[one two]"; })) << files() << server_->err();
  EXPECT_TRUE(eventually([&] {  // what was kept of it goes a moment later
    try {
      const Client refused("127.0.0.1", before);
      return false;
    } catch (const std::system_error&) {
      return true;
    }
  }));
  client.half_close();
  EXPECT_TRUE(client.wait_for_close());
}

TEST_F(Restarts, SocketsOfTheServiceManagerComeBackOnce) {
  UniqueFd socket = listen_on(SocketAddress::from_host("127.0.0.1", 0).value(), 16);
  port_ = SocketAddress::local_of(socket.get()).port();
  configure("");
  manager_.activate("capture", std::move(socket));
  start();
  const Client client("127.0.0.1", port_);
  client.send("one ");
  ASSERT_TRUE(client.wait_until_acknowledged());
  restart();
  client.send("two");
  EXPECT_TRUE(eventually([&] { return files() == "[one two]"; })) << files() << server_->err();
  EXPECT_EQ(server_->err().find("not used"), std::string::npos) << server_->err();
  EXPECT_NO_THROW(Client("127.0.0.1", port_));
}

TEST_F(Restarts, WhatIsInTheStoreByMistakeIsClosedAndRemoved) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd other_end = UniqueFd::adopt(ends[1]);
  manager_.put_into_store("stored", UniqueFd::adopt(ends[0]));
  Parcel outdated = make_parcel();
  manager_.put_into_store("kept.3", std::move(outdated.held));
  Parcel strange = make_parcel();
  const int number = other_end.get();
  ASSERT_EQ(put_into_parcel(strange.entrance.get(), {&number, 1}, "port.1.fountain"), 0);
  strange.entrance.reset();
  manager_.put_into_store("kept.4", std::move(strange.held));
  start();
  const std::string err = server_->err();
  EXPECT_NE(err.find("descriptor 3 (stored) is a UNIX socket; closed"), std::string::npos) << err;
  EXPECT_NE(err.find("'kept.3' in the service manager's store is outdated; closed"),
            std::string::npos)
      << err;
  EXPECT_NE(err.find("unknown name 'port.1.fountain'; closed"), std::string::npos) << err;
  EXPECT_TRUE(eventually([&] {
    const auto stored = manager_.stored();
    return std::none_of(stored.begin(), stored.end(), [](const std::string& name) {
      return name == "stored" || name == "kept.3" || name == "kept.4";
    });
  }));
}

TEST_F(Restarts, ConnectionsSurviveKillsOfEverything) {
  go_on_exactly([&] {
    EXPECT_TRUE(wait_until_kept(50)) << manager_.connections_kept() << server_->err();
    kill(true);
    start();
  });
}

/// At once after the start: nothing that was kept may be given up before there is a new one.
TEST_F(Restarts, ConnectionsSurviveKillsInARow) {
  start();
  const auto load = this->load(20, 10'000'000);
  ASSERT_TRUE(wait_until_kept(20));
  for (int i = 0; i < 10; ++i) {
    kill(true);
    server_ = manager_.start({"-c", "c.toml"});
    if (i % 2 == 0) ASSERT_TRUE(server_->wait_for_err("ports up"));
  }
  kill(true);
  start();
  wait_for_progress();
  load->signal(SIGTERM);
  EXPECT_EQ(load->wait(Seconds(60)).value_or(-1), 0) << load->out() << load->err() << log_;
}

/// Workers notice, and their keepers park even what is younger than a second.
TEST_F(Restarts, WorkersThatAreLeftAloneEndByThemselves) {
  start();
  ASSERT_TRUE(eventually([&] { return !manager_.stored().empty(); }));
  const Client old("127.0.0.1", port_);
  old.send("one ");
  ASSERT_TRUE(wait_until_kept(1));
  kill(false);
  start();
  old.send("two");
  EXPECT_TRUE(eventually([&] { return files() == "[one two]"; })) << files() << server_->err();
}

TEST_F(Restarts, AConnectionThatHasEndedIsNotBroughtBack) {
  start();
  const Client stays("127.0.0.1", port_);
  Client leaves("127.0.0.1", port_);
  stays.send("a");
  leaves.send("b");
  ASSERT_TRUE(wait_until_kept(2));
  leaves.half_close();
  EXPECT_TRUE(leaves.wait_for_close(Seconds(1))) << "before the duplicate is gone";
  kill(true);
  start();
  EXPECT_NE(server_->err().find("went on with 1 connections, 0 of them just accepted"),
            std::string::npos)
      << server_->err();
  stays.send("a");
  EXPECT_TRUE(eventually([&] { return files() == "[aa][b]" || files() == "[b][aa]"; })) << files();
}

TEST_F(Restarts, AKilledConnectionIsResetThoughThereIsADuplicate) {
  start();
  const Client client("127.0.0.1", port_);
  client.send("x");
  ASSERT_TRUE(wait_until_kept(1));
  const std::string id = std::to_string(port_) + "-1";
  EXPECT_EQ(
      run_program({built("stream-serverd"), "--runtime-dir", workspace_ / "run", "kill", id}).code,
      0);
  pollfd reset{client.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&reset, 1, 20'000), 1);
  char byte = 0;
  EXPECT_EQ(::recv(client.fd(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(Restarts, ASettingTurnsTheSurvivalOfKillsOff) {
  configure("survive_kill = false\n");
  start();
  const Client client("127.0.0.1", port_);
  client.send("x");
  ASSERT_TRUE(eventually([&] { return files() == "[x]"; }));
  EXPECT_EQ(manager_.heard().find("FDSTORE=1"), std::string::npos) << manager_.heard();
  restart();
  client.send("y");
  EXPECT_TRUE(eventually([&] { return files() == "[xy]"; })) << files();
  EXPECT_TRUE(eventually([&] { return manager_.stored().empty(); })) << "taken out once it is up";
  configure("");
  server_->signal(SIGHUP);
  EXPECT_TRUE(wait_until_kept(1)) << "and on, by a reload";
  kill(true);
  start();
  client.send("z");
  EXPECT_TRUE(eventually([&] { return files() == "[xyz]"; })) << files();
}

TEST_F(Restarts, AnUpgradeKeepsWhatIsInTheStoreUpToDate) {
  start();
  const Client client("127.0.0.1", port_);
  client.send("x");
  ASSERT_TRUE(wait_until_kept(1));
  server_->signal(SIGUSR2);
  ASSERT_TRUE(server_->wait_for_err("Upgrade complete")) << server_->err();
  const Client another("127.0.0.1", port_);
  another.send("other");
  ASSERT_TRUE(wait_until_kept(2));
  // A new one is put in before the old one is taken out.
  EXPECT_TRUE(eventually([&] { return manager_.stored().size() == 1; }));
  kill(true);
  start();
  client.send("y");
  EXPECT_TRUE(eventually([&] { return files() == "[xy][other]" || files() == "[other][xy]"; }))
      << files() << server_->err();
}

TEST(StoreLimits, WithoutAStoreARestartIsAStopAndSaid) {
  Workspace workspace;
  FakeManager manager(workspace, 0);
  const std::uint16_t port = free_ports(1);
  const auto server = manager.start_up({"stream", "127.0.0.1", std::to_string(port), "1"});
  EXPECT_NE(server->err().find("The service manager keeps 0 descriptors of ours"),
            std::string::npos)
      << server->err();
  const Client client("127.0.0.1", port);
  client.send("x");
  ASSERT_TRUE(client.wait_until_acknowledged());
  server->signal(SIGTERM);
  EXPECT_EQ(server->wait().value_or(-1), 0);
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(manager.refused(), 0U);
}

TEST(StoreLimits, OneDescriptorIsEnoughForARestart) {
  Workspace workspace;
  FakeManager manager(workspace, 1);
  const std::uint16_t port = free_ports(1);
  const std::vector<std::string> arguments = {"stream", "127.0.0.1", std::to_string(port), "1"};
  auto server = manager.start_up(arguments);
  const Client client("127.0.0.1", port);
  for (const char* text : {"one ", "two ", "three"}) {
    client.send(text);
    ASSERT_TRUE(client.wait_until_acknowledged());
    server->signal(SIGTERM);
    ASSERT_EQ(server->wait().value_or(-1), 0);
    server = manager.start_up(arguments);
  }
  EXPECT_EQ(manager.refused(), 0U);
  EXPECT_EQ(file_content(only_file(workspace.path() / "output", "stream_")), "one two three");
}

TEST(StoreLimits, AManagerThatDoesNotReadHoldsTheEndUpForASecondsTimeOnly) {
  Workspace workspace;
  FakeManager manager(workspace);
  const auto server = manager.start_up({"stream", "127.0.0.1", std::to_string(free_ports(1)), "1"});
  manager.read(false);
  const auto begin = std::chrono::steady_clock::now();
  server->signal(SIGTERM);
  EXPECT_EQ(server->wait().value_or(-1), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, Seconds(8));
  EXPECT_NE(server->err().find("did not take what the next start needs"), std::string::npos)
      << server->err();
}

}  // namespace
}  // namespace serverd::test
