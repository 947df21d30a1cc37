#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>

namespace serverd::test {
namespace {

constexpr const char* kConfig =
    "[[service]]\nname = \"capture\"\nprotocol = \"stream\"\noutput = \".\"\n"
    "listen = [\"127.0.0.1:5000\"]\n";

TEST(WorkerAlone, ServesUnderSocketActivation) {
  Workspace workspace;
  workspace.write("c.toml", kConfig);
  const auto port = free_ports(1);
  Program worker({"systemd-socket-activate", "-l", "127.0.0.1:" + std::to_string(port),
                  built("stream-worker"), "--config", "c.toml", "--service", "capture"},
                 {workspace.path().string(), {}, ""});
  ASSERT_TRUE(worker.wait_for_err("Listening on"));
  const Client client("127.0.0.1", port);
  client.send("alone");
  ASSERT_TRUE(worker.wait_for_err("Created output file")) << worker.err();
  EXPECT_TRUE(client.wait_until_acknowledged());
  worker.signal(SIGTERM);
  EXPECT_EQ(worker.wait().value_or(-1), 0);
  EXPECT_EQ(file_content(only_file(workspace.path(), "stream_")), "alone");
}

TEST(WorkerAlone, SaysWhatIsMissing) {
  Workspace workspace;
  workspace.write("c.toml", kConfig);
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), built("stream-worker"));
    return run_program(std::move(arguments), {workspace.path().string(), {}, ""});
  };
  EXPECT_EQ(run({"--nonsense"}).code, 64);
  EXPECT_EQ(run({"--config", "c.toml"}).code, 64) << "--service belongs to it";
  const Finished alone = run({});
  EXPECT_EQ(alone.code, 78);
  EXPECT_NE(alone.err.find("no listening socket was handed over"), std::string::npos) << alone.err;
}

TEST(WorkerAlone, SaysThatTheConfigHasNoSuchService) {
  Workspace workspace;
  workspace.write("c.toml", kConfig);
  const auto port = free_ports(1);
  Program worker({"systemd-socket-activate", "-l", "127.0.0.1:" + std::to_string(port),
                  built("stream-worker"), "--config", "c.toml", "--service", "other"},
                 {workspace.path().string(), {}, ""});
  ASSERT_TRUE(worker.wait_for_err("Listening on"));
  const Client client("127.0.0.1", port);
  EXPECT_EQ(worker.wait().value_or(-1), 78);
  EXPECT_NE(worker.err().find("c.toml: there is no service 'other'"), std::string::npos)
      << worker.err();
}

}  // namespace
}  // namespace serverd::test
