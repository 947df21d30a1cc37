// log_target = "journal", with a journal of our own in the place of the system's.
#include "common/os/socket.h"
#include "tests/e2e/server.h"
#include "tests/support/fake_journal.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include <sys/socket.h>
#include <unistd.h>

namespace serverd::test {
namespace {

/// Has `workspace`'s directory `journal` as /run/systemd/journal, in mounts of its own.
std::vector<std::string> with_journal(const Workspace& workspace) {
  return {"unshare",
          "--mount",
          "sh",
          "-c",
          "mount -t tmpfs none /run && mkdir -p /run/systemd/journal &&"
          " mount --bind \"$1\" /run/systemd/journal && shift && exec \"$@\"",
          "sh",
          workspace / "journal",
          built("stream-serverd"),
          "--runtime-dir",
          workspace / "run",
          "-c",
          "c.toml"};
}

std::string config(std::uint16_t port, const std::string& daemon = "") {
  return "[daemon]\nuser = \"\"\nlog_target = \"journal\"\n" + daemon +
         "\n[[service]]\nname = \"capture\"\nprotocol = \"stream\"\nlisten = [\"127.0.0.1:" +
         std::to_string(port) + "\"]\n";
}

class JournalTarget : public testing::Test {
 protected:
  static std::string made(const std::string& directory) {
    std::filesystem::create_directory(directory);
    return directory;
  }

  Workspace workspace_;
  FakeJournal journal_{made(workspace_ / "journal") + "/socket"};
  std::uint16_t port_ = free_ports(1);
};

bool has_line(const std::string& entry, const std::string& line) {
  return entry.find("\n" + line + "\n") != std::string::npos;
}

TEST_F(JournalTarget, SaysServicePortPeerAndNumberOfConnections) {
  workspace_.write("c.toml", config(port_));
  Program server(with_journal(workspace_), {workspace_.path().string(), {}, ""});
  ASSERT_NE(journal_.entry_with("ports up"), "") << server.err();
  const std::string port = "PORT=" + std::to_string(port_);
  std::string peer;
  {
    const Client client("127.0.0.1", port_);
    peer = "PEER=" + SocketAddress::local_of(client.fd()).to_string();
    ASSERT_TRUE(client.send("text"));
  }
  for (const std::string text : {"New connection from", "Client disconnected from"}) {
    const std::string entry = journal_.entry_with(text);
    EXPECT_TRUE(has_line(entry, "PRIORITY=6")) << entry;
    EXPECT_TRUE(has_line(entry, "SYSLOG_IDENTIFIER=stream-worker")) << entry;
    EXPECT_TRUE(has_line(entry, "SERVICE=capture")) << entry;
    EXPECT_TRUE(has_line(entry, port)) << entry;
    EXPECT_TRUE(has_line(entry, peer)) << entry;
    EXPECT_TRUE(has_line(entry, "CONNECTION=1")) << entry;
  }
  const std::string created = journal_.entry_with("Created output file");
  EXPECT_TRUE(has_line(created, "SERVICE=capture") && has_line(created, port)) << created;
  for (const pid_t worker : children_of(server.pid())) ::kill(worker, SIGKILL);
  const std::string restart = journal_.entry_with("the worker was killed by signal 9");
  EXPECT_TRUE(has_line(restart, "PRIORITY=4")) << restart;
  EXPECT_TRUE(has_line(restart, "SYSLOG_IDENTIFIER=stream-serverd")) << restart;
  EXPECT_TRUE(has_line(restart, "SERVICE=capture") && has_line(restart, port)) << restart;
  EXPECT_EQ(server.err(), "");
}

TEST_F(JournalTarget, OneThatDoesNotReadHoldsNobody) {
  workspace_.write("c.toml", config(port_));
  Program server(with_journal(workspace_), {workspace_.path().string(), {}, ""});
  ASSERT_NE(journal_.entry_with("ports up"), "") << server.err();
  // Each connection is several entries, far more than the socket's queue takes.
  const int kConnections = 2000;
  for (int i = 0; i < kConnections; ++i) {
    const Client client("127.0.0.1", port_);
    ASSERT_TRUE(client.send("x"));
    client.half_close();
    ASSERT_TRUE(client.wait_for_close());
  }
  EXPECT_EQ(file_content(only_file(workspace_.path() / "output", "stream_")),
            std::string(kConnections, 'x'));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait().value_or(-1), 0);
}

}  // namespace
}  // namespace serverd::test
