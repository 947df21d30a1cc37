#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include <sys/mount.h>
#include <sys/socket.h>

namespace serverd::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> quick(const std::string& ip, std::uint16_t base, unsigned count) {
  return {"stream", ip, std::to_string(base), std::to_string(count)};
}

std::string config(const std::string& listen, const std::string& more = "",
                   const std::string& daemon = "") {
  return "[daemon]\nuser = \"\"\n" + daemon +
         "\n[[service]]\nname = \"capture\"\nprotocol = \"stream\"\n"
         "output = \"output\"\nlisten = [" +
         listen + "]\n" + more + "\n";
}

std::string quoted(const std::string& host, std::uint16_t port) {
  return "\"" + host + ":" + std::to_string(port) + "\"";
}

/// The whole of a port's file, once it has `size` bytes.
std::string saved(const Workspace& workspace, std::uint16_t port, std::size_t size,
                  const std::string& directory = "output") {
  const std::string prefix = "stream_" + std::to_string(port) + "_";
  std::string content;
  eventually([&] {
    const std::string file = only_file(workspace.path() / directory, prefix);
    content = file.empty() ? "" : file_content(file);
    return !file.empty() && content.size() >= size;
  });
  return content;
}

std::size_t count_files(const Workspace& workspace, const std::string& prefix) {
  std::size_t count = 0;
  std::error_code none_yet;
  for (const auto& entry : fs::directory_iterator(workspace.path() / "output", none_yet))
    if (entry.path().filename().string().starts_with(prefix)) ++count;
  return count;
}

TEST(Stream, SavesWhatArrivesOnEachPortAndSaysSo) {
  Workspace workspace;
  const auto base = free_ports(3);
  Server server(workspace, quick("127.0.0.1", base, 3));
  std::vector<std::string> sent;
  for (unsigned i = 0; i < 3; ++i) {
    sent.push_back(pattern(3'000'000 + i, i));
    const Client client("127.0.0.1", static_cast<std::uint16_t>(base + i));
    ASSERT_TRUE(client.send(sent[i]));
  }
  for (unsigned i = 0; i < 3; ++i)
    EXPECT_TRUE(saved(workspace, static_cast<std::uint16_t>(base + i), sent[i].size()) == sent[i])
        << "port " << base + i;
  EXPECT_TRUE(server.wait_for_err("Client disconnected from port", 3));
  EXPECT_EQ(server.stop(SIGINT), 0);

  const std::string log = server.err();
  const std::string first = std::to_string(base);
  for (const std::string& text :
       {"Starting server with 3 ports starting from " + first, "Listening on 127.0.0.1:" + first,
        "New connection from 127.0.0.1 on port " + first,
        "Created output file: output/stream_" + first + "_",
        "Client disconnected from port " + first,
        std::string("Received signal 2, initiating shutdown..."),
        std::string("Shutting down server..."), std::string("Server stopped.")})
    EXPECT_NE(log.find(text), std::string::npos) << text << " is not in:\n" << log;
}

TEST(Stream, KeepsConnectionsOfOnePortInOneFileEachInItsOrder) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  constexpr int kClients = 8;
  constexpr int kRounds = 200;
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::string> sent(kClients);
  for (int i = 0; i < kClients; ++i) clients.push_back(std::make_unique<Client>("127.0.0.1", port));
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kClients; ++i) {
      // The upper half of each byte tells whose it is.
      std::string bytes(1 + (round * 37 + i) % 900, '\0');
      for (std::size_t k = 0; k < bytes.size(); ++k)
        bytes[k] = static_cast<char>(i << 4 | ((round + k) & 15));
      ASSERT_TRUE(clients[i]->send(bytes));
      sent[i] += bytes;
    }
  }
  std::size_t total = 0;
  for (const std::string& bytes : sent) total += bytes.size();
  const std::string file = saved(workspace, port, total);
  ASSERT_EQ(file.size(), total);
  std::vector<std::string> taken_apart(kClients);
  for (const char byte : file) taken_apart[static_cast<unsigned char>(byte) >> 4] += byte;
  for (int i = 0; i < kClients; ++i) EXPECT_TRUE(taken_apart[i] == sent[i]) << "client " << i;
}

TEST(Stream, GivesEachConnectionItsOwnFileIfAsked) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(quoted("127.0.0.1", port), "files = \"per-connection\""));
  Server server(workspace, {"-c", "c.toml"});
  const Client first("127.0.0.1", port);
  ASSERT_TRUE(first.send("first"));
  ASSERT_TRUE(server.wait_for_err("Created output file", 1));
  const Client second("127.0.0.1", port);
  ASSERT_TRUE(second.send("second"));
  ASSERT_TRUE(server.wait_for_err("Created output file", 2));
  EXPECT_TRUE(first.wait_until_acknowledged() && second.wait_until_acknowledged());
  EXPECT_EQ(server.stop(SIGTERM), 0);
  std::vector<std::string> contents;
  for (const auto& entry : fs::directory_iterator(workspace.path() / "output")) {
    const std::string name = entry.path().filename().string();
    contents.push_back(name.substr(name.rfind('_')) + "=" + file_content(entry.path()));
  }
  std::sort(contents.begin(), contents.end());
  EXPECT_EQ(contents, (std::vector<std::string>{"_1.bin=first", "_2.bin=second"}));
}

TEST(Stream, OpensTheFileForAConnectionThatSendsNothing) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  EXPECT_EQ(count_files(workspace, "stream_"), 0U);
  const Client silent("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("Created output file"));
  EXPECT_EQ(count_files(workspace, "stream_"), 1U);
}

TEST(Stream, NeverOverwritesAFileOfAnEarlierRun) {
  Workspace workspace;
  const auto port = free_ports(1);
  for (int run = 0; run < 3; ++run) {  // several within a second
    Server server(workspace, quick("127.0.0.1", port, 1));
    const Client client("127.0.0.1", port);
    ASSERT_TRUE(client.send("run" + std::to_string(run)));
    ASSERT_TRUE(server.wait_for_err("Created output file"));
    EXPECT_TRUE(client.wait_until_acknowledged());
    EXPECT_EQ(server.stop(SIGTERM), 0);
  }
  std::vector<std::string> contents;
  for (const auto& entry : fs::directory_iterator(workspace.path() / "output"))
    contents.push_back(file_content(entry.path()));
  std::sort(contents.begin(), contents.end());
  EXPECT_EQ(contents, (std::vector<std::string>{"run0", "run1", "run2"}));
}

TEST(Stream, StartsTheNextFileOnUsr1) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("before"));
  ASSERT_EQ(saved(workspace, port, 6), "before");
  const std::string first = only_file(workspace.path() / "output", "stream_");
  const pid_t worker = server.worker(port);
  server.program().signal(SIGUSR1);
  ASSERT_TRUE(server.wait_for_err("output goes on in new files"));
  ASSERT_TRUE(server.wait_for_err("starts a new file"));
  ASSERT_TRUE(client.send("after"));
  ASSERT_TRUE(server.wait_for_err("Created output file", 2));
  EXPECT_TRUE(client.wait_until_acknowledged());
  EXPECT_EQ(server.worker(port), worker);
  EXPECT_EQ(server.stop(SIGTERM), 0);
  EXPECT_EQ(file_content(first), "before");
  fs::remove(first);
  EXPECT_EQ(file_content(only_file(workspace.path() / "output", "stream_")), "after");
}

TEST(Stream, GoesOnInTheSameFileAfterAWorkersDeath) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  Client("127.0.0.1", port).send("one,");
  ASSERT_EQ(saved(workspace, port, 4), "one,");
  ::kill(server.worker(port), SIGKILL);
  ASSERT_TRUE(server.wait_for_err("is up, restart 1"));
  Client("127.0.0.1", port).send("two");
  EXPECT_EQ(saved(workspace, port, 7), "one,two");
}

TEST(Stream, SurvivesRudeClients) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  const pid_t worker = server.worker(port);
  const Client silent("127.0.0.1", port);
  std::string expected;
  const auto step = [&](const std::string& bytes) {
    expected += bytes;
    ASSERT_TRUE(saved(workspace, port, expected.size()) == expected);
  };
  Client resets("127.0.0.1", port);
  resets.send("reset.");
  step("reset.");
  resets.reset();
  const Client urgent("127.0.0.1", port);
  urgent.send("urg");
  urgent.send("e", MSG_OOB);
  urgent.send("nt.");
  step("urgent.");
  const Client half("127.0.0.1", port);
  half.send("half.");
  half.half_close();
  EXPECT_TRUE(half.wait_for_close());
  step("half.");
  Client("127.0.0.1", port).reset();
  const Client last("127.0.0.1", port);
  last.send("last");
  step("last");
  EXPECT_EQ(server.worker(port), worker);
  EXPECT_TRUE(server.wait_for_err("reset: Connection reset by peer", 1));
}

TEST(Stream, ServesSeveralAddressesOnOnePortByOneWorker) {
  Workspace workspace;
  const auto base = free_ports(2);
  const std::string range = std::to_string(base) + "-" + std::to_string(base + 1);
  workspace.write("c.toml", config("\"127.0.0.1:" + range + "\", \"127.0.0.2:" + range +
                                   "\", \"[::1]:" + range + "\""));
  Server server(workspace, {"-c", "c.toml"});
  EXPECT_EQ(children_of(server.program().pid()).size(), 2U);
  for (unsigned i = 0; i < 2; ++i) {
    const auto port = static_cast<std::uint16_t>(base + i);
    std::string expected;
    for (const char* host : {"127.0.0.1", "127.0.0.2", "::1"}) {
      Client(host, port).send(host);
      expected += host;
      EXPECT_EQ(saved(workspace, port, expected.size()), expected);
    }
  }
}

TEST(Stream, EndsAtOnceWhateverClientsDo) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(std::make_unique<Client>("127.0.0.1", port));
  ASSERT_TRUE(server.wait_for_err("New connection", 20));
  std::atomic<bool> done = false;
  std::thread busy([&] {
    const Client client("127.0.0.1", port);
    while (!done && client.send(std::string(100'000, 'x'))) {
    }
  });
  ASSERT_TRUE(server.wait_for_err("New connection", 21));
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(server.stop(SIGINT), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - before, Seconds(2));
  done = true;
  busy.join();
  for (const auto& client : silent) EXPECT_TRUE(client->wait_for_close());
}

TEST(Stream, StoresWhatWasReceivedBeforeAStop) {
  for (int round = 0; round < 10; ++round) {
    Workspace workspace;
    const auto port = free_ports(1);
    Server server(workspace, quick("127.0.0.1", port, 1));
    // Some connections will be open, some still in the backlog.
    constexpr std::size_t kSize = 50'000;
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 10; ++i) {
      clients.push_back(std::make_unique<Client>("127.0.0.1", port));
      ASSERT_TRUE(clients.back()->send(std::string(kSize, static_cast<char>('a' + i))));
    }
    for (const auto& client : clients) ASSERT_TRUE(client->wait_until_acknowledged());
    ASSERT_EQ(server.stop(SIGTERM), 0);
    const std::string file = file_content(only_file(workspace.path() / "output", "stream_"));
    for (int i = 0; i < 10; ++i)
      EXPECT_EQ(std::count(file.begin(), file.end(), 'a' + i), kSize) << "client " << i;
  }
}

TEST(Stream, LetsConnectionsEndByThemselvesOnQuit) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("before,"));
  ASSERT_EQ(saved(workspace, port, 7), "before,");
  server.program().signal(SIGQUIT);
  ASSERT_TRUE(server.wait_for_err("Shutting down server..."));
  ASSERT_TRUE(client.send("after"));
  EXPECT_EQ(saved(workspace, port, 12), "before,after");
  EXPECT_TRUE(server.program().running());
  client.close();
  EXPECT_EQ(server.program().wait().value_or(-1), 0);
}

TEST(Stream, CutsADrainShortAtItsTimeout) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(quoted("127.0.0.1", port), "", "drain_timeout = \"200ms\""));
  Server server(workspace, {"-c", "c.toml"});
  const Client silent("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("New connection"));
  EXPECT_EQ(server.stop(SIGQUIT), 0);
}

TEST(Stream, ClosesAConnectionThatIsSilentForItsIdleTimeout) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(quoted("127.0.0.1", port), "idle_timeout = \"300ms\""));
  Server server(workspace, {"-c", "c.toml"});
  const Client silent("127.0.0.1", port);
  const Client busy("127.0.0.1", port);
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(busy.send("x"));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(silent.wait_for_close());
  EXPECT_TRUE(server.wait_for_err("0 bytes, idle"));
  EXPECT_FALSE(busy.wait_for_close(std::chrono::milliseconds(0)));
}

TEST(Stream, LeavesNewcomersInTheBacklogWhenTheTableIsFull) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(quoted("127.0.0.1", port), "max_connections = 2"));
  Server server(workspace, {"-c", "c.toml"});
  Client first("127.0.0.1", port);
  const Client second("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("all 2 connections are in use"));
  const Client third("127.0.0.1", port);
  ASSERT_TRUE(third.send("third"));
  first.close();
  EXPECT_EQ(saved(workspace, port, 5), "third");
}

/// A small file system of the test's own. Mounting needs root, which CI has.
class SmallDisk final {
 public:
  explicit SmallDisk(const fs::path& path) : path_(path) {
    fs::create_directory(path);
    mounted_ = ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=1m,mode=0755") == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  fs::path path_;
  bool mounted_;
};

TEST(Stream, HoldsTheSenderWhileTheDiskIsFullAndDropsNothing) {
  Workspace workspace;
  const SmallDisk disk(workspace.path() / "small");
  ASSERT_TRUE(disk.mounted()) << "mount needs root";
  const fs::path ballast = workspace.path() / "small/ballast";
  std::ofstream(ballast) << std::string(700'000, 'b');
  const auto port = free_ports(1);
  Server server(workspace, {"stream", "127.0.0.1", std::to_string(port), "1", "--output", "small"});
  const std::string sent = pattern(600'000, 1);
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send(sent));
  ASSERT_TRUE(server.wait_for_err("No space left on device; reading stops"));
  // A full second of retries says nothing more.
  std::this_thread::sleep_for(Seconds(1));
  EXPECT_EQ(server.err().find("No space left"), server.err().rfind("No space left"));
  fs::remove(ballast);
  EXPECT_TRUE(saved(workspace, port, sent.size(), "small") == sent);
  EXPECT_TRUE(server.wait_for_err("output can be written again"));
}

TEST(Stream, WaitsForAnOutputDirectoryThatVanished) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  fs::remove_all(workspace.path() / "output");
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("patience"));
  ASSERT_TRUE(server.wait_for_err("output: No such file or directory; reading stops"));
  fs::create_directory(workspace.path() / "output");
  EXPECT_EQ(saved(workspace, port, 8), "patience");
}

TEST(Stream, WorksWithNetcatAndSocat) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  const std::string bytes = pattern(200'000, 5);
  workspace.write("in", bytes);
  Program::Options from_file{workspace.path().string(), {}, workspace / "in"};
  EXPECT_EQ(run_program({"nc", "-N", "127.0.0.1", std::to_string(port)}, from_file).code, 0);
  EXPECT_TRUE(saved(workspace, port, bytes.size()) == bytes);
  EXPECT_EQ(
      run_program({"socat", "-u", "-", "TCP:127.0.0.1:" + std::to_string(port)}, from_file).code,
      0);
  EXPECT_TRUE(saved(workspace, port, 2 * bytes.size()) == bytes + bytes);
}

/// How often each system call stands in what strace(1) wrote.
std::map<std::string, unsigned> count_calls(const std::string& trace) {
  std::map<std::string, unsigned> calls;
  std::istringstream lines(trace);
  for (std::string line; std::getline(lines, line);) ++calls[line.substr(0, line.find('('))];
  return calls;
}

TEST(Stream, SpendsFourSystemCallsOnAChunk) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick("127.0.0.1", port, 1));
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("x"));
  ASSERT_EQ(saved(workspace, port, 1), "x");
  Program tracer({"strace", "-o", workspace / "trace", "-p", std::to_string(server.worker(port))});
  ASSERT_TRUE(tracer.wait_for_err("attached")) << tracer.err();
  const std::string bytes = pattern(1 << 20, 1);
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(client.send(bytes));
  ASSERT_TRUE(client.wait_until_acknowledged());
  ASSERT_EQ(saved(workspace, port, 1 + 64 * bytes.size()).size(), 1 + 64 * bytes.size());
  tracer.signal(SIGINT);
  tracer.wait();

  auto calls = count_calls(file_content(workspace / "trace"));
  const unsigned chunks = calls["pwrite64"];
  ASSERT_GE(chunks, 32U);
  // poll, peek, store, discard; a worker's heartbeat is all there may be besides.
  unsigned total = 0;
  for (const auto& [name, count] : calls) total += count;
  EXPECT_LE(calls["poll"], chunks + 5);
  EXPECT_LE(calls["recvfrom"], 2 * chunks + 5);
  EXPECT_LE(total, 4 * chunks + 20) << file_content(workspace / "trace").substr(0, 2000);
}

}  // namespace
}  // namespace serverd::test
