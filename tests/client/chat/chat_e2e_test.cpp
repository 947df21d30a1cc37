#include "tests/client/chat/fake_server.h"
#include "tests/e2e/program.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>

namespace serverd::test {
namespace {

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

bool has(const std::string& text, const std::string& part) { return count_of(text, part) > 0; }

/// The program with its input from a file, or from a pipe that the test holds open.
class ChatClient : public testing::Test {
 protected:
  Program start(std::vector<std::string> options, const std::string& input) {
    const std::string path = directory_ / "input";
    std::ofstream(path) << input;
    return launch(std::move(options), path);
  }

  Program start_with_pipe(std::vector<std::string> options = {}) {
    const std::string path = directory_ / "pipe";
    ::mkfifo(path.c_str(), 0600);
    pipe_ = UniqueFd::adopt(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    return launch(std::move(options), path);
  }

  void type(const std::string& text) const {
    ASSERT_EQ(::write(pipe_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  FakeServer server_;
  UniqueFd pipe_;

 private:
  Program launch(std::vector<std::string> options, const std::string& input) {
    std::vector<std::string> arguments = {built("stream-chat"), "127.0.0.1", server_.port()};
    arguments.insert(arguments.begin() + 1, options.begin(), options.end());
    return Program(std::move(arguments), {"", {"TZ=UTC"}, input});
  }

  TempDir directory_;
};

TEST_F(ChatClient, SendsAPipeShowsTheAnswersAndLeaves) {
  // So long that nobody would wait for it: that the answers are there is enough.
  Program client =
      start({"--wait", "3600"}, "HELO bob\n\nSENDMSG alice hello, you\r\nGETMSGS\nSTATUSREQ");
  FakeConnection connection = server_.accept();
  EXPECT_EQ(connection.heard(), "HELO bob");
  connection.say("HELO,bob,127.0.0.1,4000,A5_43");
  EXPECT_EQ(connection.heard(), "SENDMSG,alice,hello, you");
  connection.say("OK,SENDMSG,1");
  EXPECT_EQ(connection.heard(), "GETMSGS");
  connection.say("SENDMSG,bob,alice,for you");
  connection.say("OK,GETMSGS,1");
  EXPECT_EQ(connection.heard(), "STATUSREQ");
  EXPECT_EQ(connection.heard(200), std::nullopt) << "it left before the last answer";
  connection.say("STATUSRESP,A5_43,uptime,1");
  EXPECT_EQ(connection.heard(), "LEAVE");
  connection.say("SENDMSG,bob,alice,one more");
  connection.close();
  EXPECT_EQ(client.wait(), 0) << client.err();
  const std::string out = client.out();
  for (const char* text :
       {"] > HELO bob\n", "] > SENDMSG,alice,hello, you\n", "] < HELO,bob,127.0.0.1,4000,A5_43\n",
        "] < SENDMSG,bob,alice,for you\n", "] < OK,GETMSGS,1\n", "] < STATUSRESP,A5_43,uptime,1\n",
        "] < SENDMSG,bob,alice,one more\n"})
    EXPECT_TRUE(has(out, text)) << text << out;
  EXPECT_TRUE(out.ends_with("\nOver and Out\n")) << out;
  EXPECT_EQ(count_of("\n" + out, "\n[20") + 1, count_of(out, "\n")) << "a time with everything\n"
                                                                    << out;
  EXPECT_EQ(client.err(), "");
}

TEST_F(ChatClient, ASilentServerIsLeftAfterTheWait) {
  Program client = start({"--wait", "1"}, "STATUSREQ\n");
  FakeConnection connection = server_.accept();
  EXPECT_EQ(connection.heard(), "STATUSREQ");
  EXPECT_EQ(connection.heard(), "LEAVE");
  EXPECT_EQ(client.wait(), 0) << "nor does it wait for ever to be let go: " << client.err();
}

TEST_F(ChatClient, EverythingReachesAServerThatReadsSlowly) {
  constexpr int kMessages = 40'000;
  std::string input;
  for (int i = 0; i < kMessages; ++i)
    input += "SENDMSG bob " + std::to_string(i) + std::string(200, 'x') + "\n";
  Program client = start({"--wait", "1"}, input);
  FakeConnection connection = server_.accept();
  int in_order = 0;
  for (int i = 0; i < kMessages; ++i) {
    if (i % 10'000 == 0) ::poll(nullptr, 0, 400);
    const std::string expected = "SENDMSG,bob," + std::to_string(i) + std::string(200, 'x');
    if (connection.heard() != expected) break;
    ++in_order;
  }
  EXPECT_EQ(in_order, kMessages);
  connection.say("OK,SENDMSG,1");
  EXPECT_EQ(connection.heard(), "LEAVE");
  connection.close();
  EXPECT_EQ(client.wait(), 0) << client.err();
}

TEST_F(ChatClient, ShowsWhatIsPushedHoweverItIsSplit) {
  Program client = start_with_pipe();
  FakeConnection connection = server_.accept();
  for (const char c : std::string("\x01SENDMSG,bob,al\x1b\x04ice,hi\x04")) connection.send({&c, 1});
  EXPECT_TRUE(eventually([&] { return has(client.out(), "] < SENDMSG,bob,al\\x04ice,hi\n"); }))
      << client.out();
  type("/quit\n");
  EXPECT_EQ(connection.heard(), "LEAVE");
  connection.close();
  EXPECT_EQ(client.wait(), 0);
}

TEST_F(ChatClient, GarbageIsShownHarmlesslyAndHidesNothing) {
  Program client = start_with_pipe();
  FakeConnection connection = server_.accept();
  connection.send("HTTP/1.1 400 \x1b[2J\xff\r\n\x04");
  connection.send("\x01lost its end\x01OK,SENDMSG,1\x04\r\n");
  connection.send("\x01" + std::string(6'000, 'y') + "\x04\x01OK,SENDMSG,2\x04\x01unfinished");
  connection.close();
  EXPECT_EQ(client.wait(), 74);
  const std::string out = client.out();
  EXPECT_TRUE(has(out, "] ? HTTP/1.1 400 \\x1b[2J\\xff\\x0d\\x0a\\x04\n")) << out;
  EXPECT_TRUE(has(out, "] ? \\x01lost its end\n")) << out;
  EXPECT_TRUE(has(out, "] ? More than 5000 bytes: yyyy")) << out;
  EXPECT_TRUE(has(out, "] < OK,SENDMSG,1\n")) << out;
  EXPECT_TRUE(has(out, "] < OK,SENDMSG,2\n")) << out;
  EXPECT_TRUE(has(out, "] ? \\x01unfinished\n")) << out;
  EXPECT_EQ(
      std::count_if(out.begin(), out.end(), [](char c) { return c != '\n' && c >= 0 && c < ' '; }),
      0);
  EXPECT_TRUE(has(client.err(), "the server closed the connection")) << client.err();
  EXPECT_TRUE(out.ends_with("Over and Out\n")) << out;
}

TEST_F(ChatClient, AResetIsAConnectionLost) {
  Program client = start_with_pipe();
  FakeConnection connection = server_.accept();
  type("STATUSREQ\n");
  EXPECT_EQ(connection.heard(), "STATUSREQ");
  connection.say("STATUSRESP,last,words");
  EXPECT_TRUE(eventually([&] { return has(client.out(), "last,words"); }));
  connection.reset();
  EXPECT_EQ(client.wait(), 74);
  EXPECT_TRUE(has(client.err(), "Connection reset by peer")) << client.err();
  EXPECT_TRUE(client.out().ends_with("Over and Out\n")) << client.out();
}

TEST_F(ChatClient, AServerThatGoesInTheMiddleOfManyLinesIsAConnectionLost) {
  std::string input;
  while (input.size() < 4'000'000) input += "SENDMSG bob " + std::string(4'000, 'x') + "\n";
  for (const bool reset : {false, true}) {
    Program client = start({}, input);
    FakeConnection connection = server_.accept();
    EXPECT_TRUE(connection.heard());
    connection.say("ERROR,LAST,words");
    EXPECT_TRUE(eventually([&] { return has(client.out(), "] < ERROR,LAST,words\n"); }));
    if (reset)
      connection.reset();
    else
      connection.close();
    EXPECT_EQ(client.wait(), 74) << client.err();
    EXPECT_TRUE(client.out().ends_with("Over and Out\n"));
  }
}

TEST_F(ChatClient, KeepsTheConnectionAliveByItself) {
  Program client = start_with_pipe({"--keepalive", "1"});
  FakeConnection connection = server_.accept();
  EXPECT_EQ(connection.heard(), "KEEPALIVE");
  connection.say("KEEPALIVE,0");
  EXPECT_EQ(connection.heard(), "KEEPALIVE");
  connection.say("KEEPALIVE,2");
  EXPECT_TRUE(eventually([&] { return has(client.out(), "] < KEEPALIVE,2\n"); })) << client.out();
  EXPECT_FALSE(has(client.out(), "KEEPALIVE,0")) << "no news";
  type("KEEPALIVE\n");
  while (connection.heard() == "KEEPALIVE" && !has(client.out(), "] < KEEPALIVE,0\n")) {
    connection.say("KEEPALIVE,0");
    eventually([&] { return has(client.out(), "] < KEEPALIVE,0\n"); }, Seconds(1));
  }
  EXPECT_TRUE(has(client.out(), "] < KEEPALIVE,0\n")) << "its user asked\n" << client.out();
}

TEST_F(ChatClient, RefusesWhatIsTooLongAndGoesOn) {
  const std::string longest = "SENDMSG,bob," + std::string(5'000 - 12, 'x');
  Program client =
      start({"--wait", "1"}, longest + "y\n" + std::string(100'000, 'z') + "\n" + longest + "\n");
  FakeConnection connection = server_.accept();
  EXPECT_EQ(connection.heard(), longest);
  EXPECT_EQ(connection.heard(), "LEAVE");
  connection.close();
  EXPECT_EQ(client.wait(), 0);
  EXPECT_EQ(count_of(client.out(), "] * Not sent: a command has at most 5000 bytes\n"), 2U);
}

TEST_F(ChatClient, SlashWordsAreNotSent) {
  Program client = start({}, "/help\n/nonsense\n/quit\nSTATUSREQ\n");
  FakeConnection connection = server_.accept();
  EXPECT_EQ(connection.heard(), "LEAVE");
  connection.close();
  EXPECT_EQ(client.wait(), 0);
  EXPECT_TRUE(has(client.out(), "/nonsense is not known")) << client.out();
  EXPECT_TRUE(has(client.out(), "SENDMSG <to> <message>")) << client.out();
}

TEST_F(ChatClient, LeaveThatWasTypedIsSentOnce) {
  Program client = start_with_pipe();
  FakeConnection connection = server_.accept();
  type("leave\n");
  EXPECT_EQ(connection.heard(), "LEAVE");
  connection.close();
  EXPECT_EQ(client.wait(), 0) << client.err();
}

TEST_F(ChatClient, SignalsMakeItLeave) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Program client = start_with_pipe();
    FakeConnection connection = server_.accept();
    EXPECT_TRUE(eventually([&] { return has(client.out(), "Connected to 127.0.0.1:"); }));
    client.signal(signal);
    EXPECT_EQ(connection.heard(), "LEAVE");
    connection.close();
    EXPECT_EQ(client.wait(), 0) << client.err();
    EXPECT_TRUE(client.out().ends_with("Over and Out\n")) << client.out();
  }
}

TEST_F(ChatClient, ASecondSignalEndsItAtOnce) {
  Program client = start_with_pipe({"--wait", "3600"});
  FakeConnection connection = server_.accept();
  EXPECT_TRUE(eventually([&] { return has(client.out(), "Connected to 127.0.0.1:"); }));
  client.signal(SIGINT);
  EXPECT_EQ(connection.heard(), "LEAVE");
  client.signal(SIGINT);
  EXPECT_EQ(client.wait(), 0);
}

TEST(ChatClientAlone, SaysWhyItCannotConnect) {
  std::string port;
  {
    const FakeServer gone;
    port = gone.port();
  }
  const Finished run = run_program({built("stream-chat"), "127.0.0.1", port});
  EXPECT_EQ(run.code, 69);
  EXPECT_EQ(run.err, "stream-chat: connect 127.0.0.1:" + port + ": Connection refused\n");
  EXPECT_EQ(run.out, "");
}

TEST(ChatClientAlone, RefusesWrongArguments) {
  const auto run = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), built("stream-chat"));
    return run_program(std::move(arguments));
  };
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{},
                                             {"127.0.0.1"},
                                             {"127.0.0.1", "port"},
                                             {"127.0.0.1", "0"},
                                             {"127.0.0.1", "65536"},
                                             {"localhost", "4000"},
                                             {"127.0.0.1", "4000", "5000"},
                                             {"--keepalive", "-1", "127.0.0.1", "4000"}}) {
    const Finished result = run(wrong);
    EXPECT_EQ(result.code, 64);
    EXPECT_TRUE(has(result.err, "Usage: stream-chat")) << result.err;
  }
  EXPECT_EQ(run({"--help"}).code, 0);
  EXPECT_EQ(run({"--version"}).code, 0);
}

}  // namespace
}  // namespace serverd::test
