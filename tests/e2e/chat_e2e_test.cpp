#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <string>

#include <poll.h>
#include <sys/socket.h>

namespace serverd::test {
namespace {

/// Speaks lines to a chat server.
class Chatter final {
 public:
  Chatter(std::uint16_t port, const std::string& name) : client_("127.0.0.1", port) {
    if (!name.empty()) ask("HELO " + name);
  }

  std::string ask(const std::string& request) {
    client_.send(request + "\n");
    return line();
  }
  /// The next line without its end; what there is of it at the deadline.
  std::string line() {
    std::string text;
    char byte = 0;
    pollfd ready{client_.fd(), POLLIN, 0};
    while (::poll(&ready, 1, 20'000) == 1 && ::recv(client_.fd(), &byte, 1, 0) == 1) {
      if (byte == '\n') return text;
      text += byte;
    }
    return text + "…";
  }

 private:
  Client client_;
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

TEST_F(ChatPort, MessagesSurviveARestart) {
  Chatter(port_, "bob").ask("SENDMSG A5_43 kept");
  EXPECT_EQ(server_.stop(SIGTERM), 0);
  Server again(workspace_, {"chat", std::to_string(port_)});
  Chatter ann(port_, "ann");
  EXPECT_EQ(ann.ask("GETMSGS A5_43"), "SENDMSG,A5_43,bob,kept");
}

TEST_F(ChatPort, AClientThatDoesNotReadIsDisconnected) {
  Chatter bob(port_, "bob");
  Chatter ann(port_, "ann");
  const std::string request = "SENDMSG bob " + std::string(4900, 'x');
  ASSERT_TRUE(eventually([&] {
    for (int i = 0; i < 20; ++i) ann.ask(request);
    return server_.err().find(", slow)") != std::string::npos;
  }));
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
