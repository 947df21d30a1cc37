#include "common/os/unique_fd.h"
#include "tests/client/chat/fake_server.h"
#include "tests/e2e/program.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>

#include <fcntl.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>

namespace serverd::test {
namespace {

/// The program on a terminal of its own, with somebody who types.
class Terminal final {
 public:
  explicit Terminal(const std::string& port, const std::string& keepalive = "0") {
    int master = -1;
    const winsize size{24, 80, 0, 0};
    pid_ = ::forkpty(&master, nullptr, nullptr, &size);
    if (pid_ == 0) {
      ::setenv("TERM", "xterm", 1);
      ::setenv("HOME", "/nonexistent", 1);
      ::setenv("LC_ALL", "C", 1);
      ::execl(built("stream-chat").c_str(), "stream-chat", "--wait", "10", "--keepalive",
              keepalive.c_str(), "127.0.0.1", port.c_str(), nullptr);
      ::_exit(127);
    }
    master_ = UniqueFd::adopt(master);
    ::fcntl(master, F_SETFD, FD_CLOEXEC);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    if (!wait()) ::kill(pid_, SIGKILL);
    wait();
  }

  void type(const std::string& keys) const {
    ASSERT_EQ(::write(master_.get(), keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }

  /// Until `text` was shown behind what was seen last; then it has been seen.
  testing::AssertionResult shows(const std::string& text) {
    for (;;) {
      if (const auto at = unseen_.find(text); at != std::string::npos) {
        unseen_.erase(0, at + text.size());
        return testing::AssertionSuccess();
      }
      char buffer[4'096];
      ssize_t got = 0;
      if (!becomes_ready(master_.get(), POLLIN, 10'000) ||
          (got = ::read(master_.get(), buffer, sizeof buffer)) <= 0)
        return testing::AssertionFailure() << "no \"" << text << "\" in " << unseen_;
      unseen_.append(buffer, static_cast<std::size_t>(got));
    }
  }

  /// Lines are edited by the program and not by the kernel.
  bool is_raw() const {
    termios settings{};
    ::tcgetattr(master_.get(), &settings);
    return (settings.c_lflag & (ICANON | ECHO)) == 0;
  }

  std::optional<int> wait() {
    eventually(
        [&] {
          int status = 0;
          if (code_ || ::waitpid(pid_, &status, WNOHANG) != pid_) return code_.has_value();
          code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
          return true;
        },
        Seconds(20));
    return code_;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd master_;
  std::string unseen_;
  std::optional<int> code_;
};

/// Somebody leaves, and finds the terminal as it was.
void expect_good_end(Terminal& terminal, FakeConnection& connection) {
  EXPECT_EQ(connection.heard(), "LEAVE");
  connection.close();
  EXPECT_TRUE(terminal.shows("Over and Out"));
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_FALSE(terminal.is_raw());
}

TEST(ChatTerminal, EditsLinesAndRemembersThem) {
  FakeServer server;
  Terminal terminal(server.port());
  FakeConnection connection = server.accept();
  EXPECT_TRUE(terminal.shows("chat> "));
  EXPECT_TRUE(eventually([&] { return terminal.is_raw(); }));
  terminal.type("HELX\x7fO bob\r");
  EXPECT_EQ(connection.heard(), "HELO bob");
  EXPECT_TRUE(terminal.shows("] > HELO bob"));
  terminal.type(
      "SENDMSG alice h\xc3\xb6\xc3\xb0\x7f"
      "fu\xc3\xb0\r");
  EXPECT_EQ(connection.heard(),
            "SENDMSG,alice,h\xc3\xb6"
            "fu\xc3\xb0")
      << "whole characters";
  terminal.type("\x1b[A\x1b[A\r");
  EXPECT_EQ(connection.heard(), "HELO bob") << "two lines up";
  terminal.type("bob\x01HELO \r");
  EXPECT_EQ(connection.heard(), "HELO bob") << "Ctrl+A";
  terminal.type("\x04");
  expect_good_end(terminal, connection);
}

TEST(ChatTerminal, WhatIsPushedDoesNotDisturbTheLineBeingTyped) {
  FakeServer server;
  Terminal terminal(server.port());
  FakeConnection connection = server.accept();
  EXPECT_TRUE(terminal.shows("chat> "));
  EXPECT_TRUE(eventually([&] { return terminal.is_raw(); }));
  terminal.type("SENDMSG al");
  EXPECT_TRUE(terminal.shows("SENDMSG al"));
  connection.say("SENDMSG,bob,carol,\x1b[2Jhello");
  EXPECT_TRUE(terminal.shows("] < SENDMSG,bob,carol,\\x1b[2Jhello"));
  EXPECT_TRUE(terminal.shows("chat> SENDMSG al")) << "it is shown again";
  terminal.type("ice hi\r");
  EXPECT_EQ(connection.heard(), "SENDMSG,alice,hi");
  terminal.type("/quit\r");
  expect_good_end(terminal, connection);
}

TEST(ChatTerminal, ALineOfSeveralRowsGivesWayAsAWhole) {
  FakeServer server;
  Terminal terminal(server.port());
  FakeConnection connection = server.accept();
  EXPECT_TRUE(terminal.shows("chat> "));
  EXPECT_TRUE(eventually([&] { return terminal.is_raw(); }));
  const std::string message(180, 'x');  // two rows and a bit of 80 columns
  terminal.type("SENDMSG bob " + message + "y");
  EXPECT_TRUE(terminal.shows("y"));
  connection.say("SENDMSG,bob,carol,hello");
  EXPECT_TRUE(terminal.shows("\x1b[2A\r\x1b[J["));
  EXPECT_TRUE(terminal.shows("chat> SENDMSG bob x"));
  terminal.type("\r");
  EXPECT_EQ(connection.heard(), "SENDMSG,bob," + message + "y");
  terminal.type("/quit\r");
  expect_good_end(terminal, connection);
}

TEST(ChatTerminal, AHalfTypedKeyHoldsNothingUp) {
  FakeServer server;
  Terminal terminal(server.port(), "1");
  FakeConnection connection = server.accept();
  EXPECT_TRUE(terminal.shows("chat> "));
  EXPECT_TRUE(eventually([&] { return terminal.is_raw(); }));
  terminal.type("\x1b");
  EXPECT_EQ(connection.heard(), "KEEPALIVE");
  connection.say("STATUSRESP,A5_43,load,9.00");
  EXPECT_TRUE(terminal.shows("] < STATUSRESP,A5_43,load,9.00"));
  terminal.type("[D/quit\r");
  for (auto next = connection.heard(); next == "KEEPALIVE"; next = connection.heard())
    connection.say("KEEPALIVE,0");
  connection.close();
  EXPECT_EQ(terminal.wait(), 0);
}

TEST(ChatTerminal, CtrlCLeaves) {
  FakeServer server;
  Terminal terminal(server.port());
  FakeConnection connection = server.accept();
  EXPECT_TRUE(terminal.shows("chat> "));
  EXPECT_TRUE(eventually([&] { return terminal.is_raw(); }));
  terminal.type("half a line\x03");
  expect_good_end(terminal, connection);
}

TEST(ChatTerminal, ALostConnectionEndsItWhileSomebodyTypes) {
  FakeServer server;
  Terminal terminal(server.port());
  FakeConnection connection = server.accept();
  EXPECT_TRUE(terminal.shows("chat> "));
  EXPECT_TRUE(eventually([&] { return terminal.is_raw(); }));
  terminal.type("half a line");
  EXPECT_TRUE(terminal.shows("half a line"));
  connection.reset();
  EXPECT_TRUE(terminal.shows("Connection reset by peer"));
  EXPECT_TRUE(terminal.shows("Over and Out"));
  EXPECT_EQ(terminal.wait(), 74);
  EXPECT_FALSE(terminal.is_raw());
}

}  // namespace
}  // namespace serverd::test
