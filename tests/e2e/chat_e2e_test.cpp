#include "tests/e2e/server.h"
#include "tests/e2e/small_disk.h"

#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <string>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace serverd::test {
namespace {

/// Speaks lines to a chat server.
class Chatter final {
 public:
  Chatter(std::uint16_t port, const std::string& name) : client_("127.0.0.1", port) {
    if (!name.empty()) ask("HELO " + name);
  }

  bool send(const std::string& bytes) { return client_.send(bytes); }
  std::string ask(const std::string& request) {
    send(request + "\n");
    return line();
  }
  /// The next line without its end; what there is of it at the deadline.
  std::string line() {
    pollfd ready{client_.fd(), POLLIN, 0};
    std::size_t end = 0;
    while ((end = received_.find('\n')) == std::string::npos) {
      char bytes[4096];
      const ssize_t n =
          ::poll(&ready, 1, 20'000) == 1 ? ::recv(client_.fd(), bytes, sizeof bytes, 0) : 0;
      if (n <= 0) return std::exchange(received_, {}) + "…";
      received_.append(bytes, static_cast<std::size_t>(n));
    }
    const std::string text = received_.substr(0, end);
    received_.erase(0, end + 1);
    return text;
  }

 private:
  Client client_;
  std::string received_;
};

/// Servers A_1, A_2 …, each connecting to the one before.
class ChatNetwork : public testing::Test {
 protected:
  void start(unsigned number) {
    const std::string name = "s" + std::to_string(number);
    const std::string peers =
        number == 0 ? "" : "peers = [\"127.0.0.1:" + std::to_string(port(number - 1)) + "\"]\n";
    workspace_.write(
        name + ".toml",
        "[daemon]\nname = \"" + name + "\"\nuser = \"\"\n[[service]]\nname = \"chat\"\n" +
            "protocol = \"chat\"\nlisten = [\"127.0.0.1:" + std::to_string(port(number)) +
            "\"]\noutput = \"" + name + "\"\nserver_id = \"A_" + std::to_string(number + 1) +
            "\"\n" + peers);
    servers_[number] =
        std::make_unique<Server>(workspace_, std::vector<std::string>{"run", "-c", name + ".toml"});
  }
  std::uint16_t port(unsigned number) const { return static_cast<std::uint16_t>(base_ + number); }
  static bool knows(Chatter& chatter, const std::string& id) {
    return eventually([&] { return chatter.ask("SERVERS").find(id + ",") != std::string::npos; });
  }

  Workspace workspace_;
  std::uint16_t base_ = free_ports(3);
  std::unique_ptr<Server> servers_[3];
};

TEST_F(ChatNetwork, TwoServersLinkAndForwardBothWays) {
  start(0);
  start(1);
  Chatter ann(port(0), "ann");
  Chatter bob(port(1), "bob");
  ASSERT_TRUE(knows(ann, "A_2") && knows(bob, "A_1"));
  EXPECT_EQ(ann.ask("SENDMSG A_2 hello, group"), "OK,SENDMSG,1");
  EXPECT_TRUE(bob.ask("SENDMSG A_1 hello yourselves").starts_with("OK,SENDMSG,"));
  const auto has = [](Chatter& reader, const std::string& group, const std::string& message) {
    return eventually([&] {
      const bool there = reader.ask("GETMSGS " + group) == message;
      if (there) reader.line();
      return there;
    });
  };
  EXPECT_TRUE(has(bob, "A_2", "SENDMSG,A_2,A_1,hello, group"));
  EXPECT_TRUE(has(ann, "A_1", "SENDMSG,A_1,A_2,hello yourselves"));
}

TEST_F(ChatNetwork, ThreeServersForwardAndGetOverTheLossOfTheMiddleOne) {
  for (unsigned number = 0; number < 3; ++number) start(number);
  Chatter ann(port(0), "ann");
  Chatter bob(port(2), "bob");
  {
    Chatter mid(port(1), "mid");
    ASSERT_TRUE(knows(ann, "A_2"));
    ASSERT_TRUE(knows(bob, "A_2"));
    ASSERT_TRUE(knows(mid, "A_1") && knows(mid, "A_3"));
    EXPECT_EQ(ann.ask("SENDMSG A_2 next door"), "OK,SENDMSG,1");
    EXPECT_TRUE(eventually([&] {
      const bool there = mid.ask("GETMSGS A_2") == "SENDMSG,A_2,A_1,next door";
      if (there) mid.line();
      return there;
    }));
    // A_1 came before A_3, so A_3 has heard of it.
    EXPECT_EQ(bob.ask("SENDMSG A_1 two doors"), "OK,SENDMSG,1");
    EXPECT_TRUE(eventually([&] {
      const bool there = ann.ask("GETMSGS A_1") == "SENDMSG,A_1,A_3,two doors";
      if (there) ann.line();
      return there;
    }));

    ::kill(servers_[1]->worker(port(1)), SIGKILL);
    ASSERT_TRUE(servers_[1]->wait_for_err("went on with 3 connections"));
    EXPECT_TRUE(knows(ann, "A_2")) << "links survive a worker's death";
    EXPECT_EQ(ann.ask("SENDMSG A_2 again"), "OK,SENDMSG,3");
    EXPECT_TRUE(eventually([&] {
      const bool there = mid.ask("GETMSGS A_2") == "SENDMSG,A_2,A_1,again";
      if (there) mid.line();
      return there;
    }));
  }
  EXPECT_EQ(servers_[1]->stop(SIGTERM), 0);
  EXPECT_EQ(bob.ask("SENDMSG A_2 meanwhile"), "OK,SENDMSG,2");
  start(1);
  Chatter mid(port(1), "late");
  ASSERT_TRUE(knows(mid, "A_3"));
  EXPECT_TRUE(eventually([&] {
    const bool there = mid.ask("GETMSGS A_2") == "SENDMSG,A_2,A_3,meanwhile";
    if (there) mid.line();
    return there;
  }));
}

TEST(Chat, AFullDiskHoldsWhatComesAndLosesNothing) {
  Workspace workspace;
  const SmallDisk disk(workspace.path() / "chat");
  ASSERT_TRUE(disk.mounted()) << "mount needs root";
  const auto port = free_ports(1);
  workspace.write("c.toml",
                  "[daemon]\nuser = \"\"\n[[service]]\nname = \"c\"\nprotocol = \"chat\"\n"
                  "output = \"chat\"\nlisten = [\"127.0.0.1:" +
                      std::to_string(port) + "\"]\n");
  Server server(workspace, {"-c", "c.toml"});
  Chatter(port, "bob");
  Chatter ann(port, "ann");
  ASSERT_TRUE(disk.become(0, "size=1m"));
  constexpr int kMessages = 600;
  std::string requests;
  for (int i = 0; i < kMessages; ++i)
    requests += "SENDMSG bob " + std::to_string(i) + std::string(2'000, 'x') + "\n";
  requests += "NONSENSE\n";
  ASSERT_TRUE(ann.send(requests));
  ASSERT_TRUE(server.wait_for_err("disk is full; reading stops until it can be written again"));
  ASSERT_TRUE(disk.become(0, SmallDisk::kRoomy));
  for (int i = 1; i <= kMessages; ++i)
    ASSERT_EQ(ann.line(), "OK,SENDMSG," + std::to_string(i)) << server.err();
  EXPECT_EQ(ann.line(), "ERROR,UNKNOWN_COMMAND,NONSENSE") << "an ERROR is as safe as an OK";
  EXPECT_TRUE(server.wait_for_err("what comes can be stored again"));
  Chatter bob(port, "bob");
  for (int i = 0; i < kMessages; ++i) {
    const std::string line = i == 0 ? bob.ask("GETMSGS") : bob.line();
    ASSERT_EQ(line, "SENDMSG,bob,ann," + std::to_string(i) + std::string(2'000, 'x'));
  }
  EXPECT_EQ(bob.line(), "OK,GETMSGS,600");
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

class ChatPort : public testing::Test {
 protected:
  Workspace workspace_;
  std::uint16_t port_ = free_ports(1);
  Server server_{workspace_, {"chat", std::to_string(port_)}};
};

TEST_F(ChatPort, ConversesWithNetcat) {
  workspace_.write("in", "HELO bob\nSENDMSG bob hello there\nLEAVE");
  const Finished nc =
      run_program({"nc", "-N", "127.0.0.1", std::to_string(port_)}, {"", {}, workspace_ / "in"});
  EXPECT_TRUE(nc.out.starts_with("HELO,bob,127.0.0.1,")) << nc.out;
  EXPECT_TRUE(nc.out.ends_with(",A5_43\nSENDMSG,bob,bob,hello there\nOK,SENDMSG,1\n")) << nc.out;
  const std::string log = file_content(workspace_ / "server_log.txt");
  EXPECT_NE(log.find("] Client 1: SENDMSG bob hello there\n"), std::string::npos) << log;
  EXPECT_EQ(server_.stop(SIGTERM), 0);
}

/// Somebody at a terminal who has only nc.
class NetcatUser final {
 public:
  NetcatUser(const Workspace& workspace, const std::string& name, std::uint16_t port)
      : keyboard_(keyboard(workspace / name)),
        nc_({"nc", "127.0.0.1", std::to_string(port)}, {"", {}, workspace / name}) {}
  ~NetcatUser() { nc_.signal(SIGKILL); }
  NetcatUser(const NetcatUser&) = delete;
  NetcatUser& operator=(const NetcatUser&) = delete;

  void types(const std::string& line) const {
    const std::string text = line + "\n";
    ASSERT_EQ(::write(keyboard_.get(), text.data(), text.size()), std::ssize(text));
  }
  bool sees(const std::string& line) {
    return eventually([&] { return nc_.out().find(line + "\n") != std::string::npos; });
  }

 private:
  static UniqueFd keyboard(const std::string& path) {
    ::mkfifo(path.c_str(), 0600);
    return UniqueFd::adopt(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  }

  UniqueFd keyboard_;
  Program nc_;
};

TEST_F(ChatPort, TwoPeopleHoldAConversationWithNetcat) {
  NetcatUser ann(workspace_, "ann", port_);
  NetcatUser bob(workspace_, "bob", port_);
  ann.types("HELO ann");
  bob.types("HELO bob");
  ASSERT_TRUE(ann.sees(",A5_43") && bob.sees(",A5_43"));
  ann.types("SENDMSG bob are you there?");
  ASSERT_TRUE(bob.sees("SENDMSG,bob,ann,are you there?"));
  bob.types("SENDMSG ann yes, I am");
  ASSERT_TRUE(ann.sees("SENDMSG,ann,bob,yes, I am"));
  EXPECT_TRUE(ann.sees("OK,SENDMSG,1"));
  ann.types("what now");
  EXPECT_TRUE(ann.sees("ERROR,UNKNOWN_COMMAND,what"));
}

TEST_F(ChatPort, APeerThatResetsLeavesItsMessagesAndDoesNoHarm) {
  Chatter ann(port_, "ann");
  for (int i = 0; i < 20; ++i) {
    Client peer("127.0.0.1", port_);
    peer.send("\x01HELO,X_1\x04");
    std::string flood;
    for (int j = 0; j < 200; ++j)
      flood += "\x01STATUSREQ\x04\x01SENDMSG,A5_43,X_1,hi\x04\x01HELO,X_1\x04";
    peer.send(flood);
    peer.reset();
    EXPECT_EQ(ann.ask("KEEPALIVE"), "KEEPALIVE,0");
  }
  EXPECT_TRUE(ann.ask("SERVERS").starts_with("SERVERS,A5_43,127.0.0.1,"));
  EXPECT_EQ(server_.stop(SIGTERM), 0);
}

TEST_F(ChatPort, MessagesSurviveARestart) {
  Chatter(port_, "bob").ask("SENDMSG A5_43 kept");
  EXPECT_EQ(server_.stop(SIGTERM), 0);
  Server again(workspace_, {"chat", std::to_string(port_)});
  Chatter ann(port_, "ann");
  EXPECT_EQ(ann.ask("GETMSGS A5_43"), "SENDMSG,A5_43,bob,kept");
}

TEST_F(ChatPort, AClientThatDoesNotReadIsDisconnectedAndOthersAreNotConcerned) {
  Chatter bob(port_, "bob");
  Chatter ann(port_, "ann");
  Chatter eve(port_, "eve");
  Chatter fay(port_, "fay");
  int heard = 0;
  const std::string request = "SENDMSG bob " + std::string(4900, 'x');
  ASSERT_TRUE(eventually([&] {
    for (int i = 0; i < 20; ++i) ann.ask(request);
    eve.ask("SENDMSG fay meanwhile");
    if (fay.line() == "SENDMSG,fay,eve,meanwhile") ++heard;
    return server_.err().find(", slow)") != std::string::npos;
  }));
  eve.ask("SENDMSG fay afterwards");
  EXPECT_EQ(fay.line(), "SENDMSG,fay,eve,afterwards");
  EXPECT_GT(heard, 0);
  EXPECT_EQ(server_.err().find("slow)"), server_.err().rfind("slow)")) << "bob alone";
  Chatter again(port_, "bob");
  EXPECT_EQ(again.ask("GETMSG"), "SENDMSG,bob,ann," + std::string(4900, 'x')) << "nothing is lost";
  EXPECT_EQ(server_.stop(SIGTERM), 0);
}

TEST_F(ChatPort, GarbageAndAFloodingPeerHarmNobodyElse) {
  Chatter ann(port_, "ann");
  Client peer("127.0.0.1", port_);
  std::string flood = "\x01HELO,X_1\x04\x01SERVERS,X_1,127.0.0.1,1;";
  for (int i = 0; i < 300; ++i) flood += "Y_" + std::to_string(i) + ",1.2.3.4,5;";
  flood += "\x04" + pattern(200'000, 1);
  for (int i = 0; i < 5000; ++i) flood += "\x01KEEPALIVE,0\x04";
  peer.send(flood);
  EXPECT_EQ(ann.ask("KEEPALIVE"), "KEEPALIVE,0");
  EXPECT_EQ(server_.stop(SIGTERM), 0);
}

}  // namespace
}  // namespace serverd::test
