#include "tests/e2e/server.h"
#include "tests/e2e/small_disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <thread>

#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGreeting = "accio\r\n";
constexpr const char* kConfirm = "confirm-accio\r\n";
constexpr const char* kConfirmAgain = "confirm-accio-again\r\n\r\n";

std::vector<std::string> quick(std::uint16_t port, const std::string& directory = "files") {
  return {"accio", std::to_string(port), directory};
}

std::string config(std::uint16_t port, const std::string& more = "") {
  return "[daemon]\nuser = \"\"\nlog_level = \"info\"\n[[service]]\nname = \"a\"\n"
         "protocol = \"accio\"\noutput = \"files\"\nlisten = [\"127.0.0.1:" +
         std::to_string(port) + "\"]\n" + more + "\n";
}

/// A worker that dies is started again at once, however often and early.
const std::string kNoPatience =
    "[restart]\nrate = 1000\nquarantine_after = 1000\ninitial = \"1ms\"\nmaximum = \"5ms\"\n";

/// What the server has said within `at_most`, until it is `size` bytes or the connection ends.
std::string receive(const Client& client, std::size_t size,
                    std::chrono::milliseconds at_most = Seconds(20)) {
  std::string got;
  eventually(
      [&] {
        char buffer[100];
        const ssize_t n = ::recv(client.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (n > 0) got.append(buffer, static_cast<std::size_t>(n));
        return got.size() >= size || n == 0 || (n < 0 && errno != EAGAIN);
      },
      at_most);
  return got;
}

/// All that the server says to a client that has finished, its end included.
std::string rest_of(const Client& client) { return receive(client, 1'000'000); }

std::string file(const Workspace& workspace, int number) {
  return file_content(workspace.path() / "files" / (std::to_string(number) + ".file"));
}

/// Until a file holds `content`.
bool comes(const Workspace& workspace, int number, const std::string& content) {
  return eventually([&] { return file(workspace, number) == content; });
}

std::vector<std::string> names(const fs::path& directory) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(directory))
    found.push_back(entry.path().filename().string());
  std::sort(found.begin(), found.end());
  return found;
}

TEST(Accio, SavesEachConnectionAsItsOwnFileOnEveryAddress) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick(port));
  const std::string sent = pattern(3'000'000, 1);
  {
    const Client at_once("127.0.0.1", port);
    ASSERT_TRUE(at_once.send(sent));
    at_once.half_close();
    EXPECT_EQ(rest_of(at_once), kGreeting);
  }
  {
    const Client confirms("::1", port);
    ASSERT_EQ(receive(confirms, 7), kGreeting);
    ASSERT_TRUE(confirms.send(kConfirm));
    ASSERT_EQ(receive(confirms, 7), kGreeting);
    ASSERT_TRUE(confirms.send(kConfirmAgain));
    ASSERT_TRUE(confirms.send(sent));
    confirms.half_close();
    EXPECT_EQ(rest_of(confirms), "");
  }
  {
    const Client empty("127.0.0.1", port);
    empty.half_close();
    EXPECT_EQ(rest_of(empty), kGreeting);
  }
  EXPECT_TRUE(file(workspace, 1) == sent);
  EXPECT_TRUE(file(workspace, 2) == sent);
  EXPECT_EQ(file(workspace, 3), "");
  EXPECT_EQ(names(workspace.path() / "files"),
            (std::vector<std::string>{"1.file", "2.file", "3.file"}));
  EXPECT_EQ(server.stop(SIGQUIT), 0);
}

TEST(Accio, RecognisesConfirmationsThatComeByteByByteOrAllAtOnce) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick(port));
  const std::string stream = std::string(kConfirm) + kConfirmAgain + "the file";
  {
    const Client slow("127.0.0.1", port);
    for (const char byte : stream) {
      ASSERT_TRUE(slow.send(std::string(1, byte)));
      ASSERT_TRUE(slow.wait_until_acknowledged());
    }
    slow.half_close();
    EXPECT_EQ(rest_of(slow), std::string(kGreeting) + kGreeting);
  }
  const Client joined("127.0.0.1", port);
  ASSERT_TRUE(joined.send(stream));
  joined.half_close();
  EXPECT_EQ(rest_of(joined), std::string(kGreeting) + kGreeting);
  EXPECT_EQ(file(workspace, 1), "the file");
  EXPECT_EQ(file(workspace, 2), "the file");
}

TEST(Accio, QuickFormCountsFromOneAndReplacesOldFiles) {
  Workspace workspace;
  const auto port = free_ports(1);
  for (const std::string sent : {"first run", "second"}) {
    Server server(workspace, quick(port, "made/by/it"));
    const Client client("127.0.0.1", port);
    ASSERT_TRUE(client.send(sent));
    client.half_close();
    rest_of(client);
    EXPECT_EQ(file_content(workspace / "made/by/it/1.file"), sent);
    EXPECT_EQ(server.stop(SIGTERM), 0);
  }
  EXPECT_EQ(names(workspace.path() / "made/by/it"), (std::vector<std::string>{"1.file"}));
}

TEST(Accio, ByDefaultAConfiguredServiceReplacesNothing) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port));
  for (const std::string sent : {"first run", "second"}) {
    Server server(workspace, {"-c", "c.toml"});
    const Client client("127.0.0.1", port);
    ASSERT_TRUE(client.send(sent));
    client.half_close();
    rest_of(client);
    EXPECT_EQ(server.stop(SIGTERM), 0);
  }
  EXPECT_EQ(file(workspace, 1), "first run");
  EXPECT_EQ(file(workspace, 2), "second");
}

/// One upload, whatever happens to the worker: what was sent, and what the server said.
struct Upload {
  std::string file;
  bool confirms = false;
  std::string said;
  std::string failure;

  void run(std::uint16_t port, unsigned seed) try {
    std::minstd_rand random(seed);
    const Client client("127.0.0.1", port);
    std::string stream = (confirms ? std::string(kConfirm) + kConfirmAgain : "") + file;
    // A few bytes at a time in the beginning, so that a kill meets the handshake as well.
    for (std::size_t done = 0; done < stream.size();) {
      const std::size_t size = std::min<std::size_t>(
          stream.size() - done, done < 60 ? 1 + random() % 9 : 1 + random() % 200'000);
      if (!client.send(stream.substr(done, size))) failure = "send failed";
      done += size;
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 20));
    }
    client.half_close();
    said = rest_of(client);
  } catch (const std::exception& error) {
    failure = error.what();
  }
};

TEST(Accio, TenParallelUploadsAreExactThoughTheirWorkerIsKilledAgainAndAgain) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", kNoPatience + config(port));
  Server server(workspace, {"-c", "c.toml"});
  std::vector<Upload> uploads(10);
  std::vector<std::thread> threads;
  std::atomic<int> running = 10;
  for (unsigned i = 0; i < uploads.size(); ++i) {
    // Its own number at the end tells which file it is, and the beginning is text or is not.
    uploads[i].file = pattern(4'000'000 + i, i);
    uploads[i].confirms = i % 2 == 0;
    threads.emplace_back([&, i] {
      uploads[i].run(port, i + 1);
      --running;
    });
  }
  int kills = 0;
  while (running > 0) {
    if (const pid_t worker = server.worker(port); worker != 0 && !children_of(worker).empty()) {
      ::kill(worker, SIGKILL);
      ++kills;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(7));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(kills, 10);
  RecordProperty("kills", kills);
  ASSERT_TRUE(eventually([&] { return server.worker(port) != 0; }));
  std::vector<std::string> stored;
  for (int number = 1; number <= 10; ++number) stored.push_back(file(workspace, number));
  EXPECT_EQ(names(workspace.path() / "files").size(), 10U);
  for (const Upload& upload : uploads) {
    EXPECT_EQ(upload.failure, "");
    EXPECT_EQ(upload.said, upload.confirms ? std::string(kGreeting) + kGreeting : kGreeting);
    EXPECT_EQ(std::count(stored.begin(), stored.end(), upload.file), 1)
        << upload.file.size() << " bytes are not exactly in one of the files, after " << kills
        << " kills";
  }
  EXPECT_EQ(server.stop(SIGTERM), 0);
  for (const char* text : {"out of step", "lost", "impossible"})
    EXPECT_EQ(server.err().find(text), std::string::npos) << server.err();
}

TEST(Accio, NoNumberIsRepeatedOrSkippedThoughTheWorkerIsKilledAgainAndAgain) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", kNoPatience + config(port));
  Server server(workspace, {"-c", "c.toml"});
  std::atomic<bool> done = false;
  std::atomic<int> served = 0;
  std::thread killer([&] {
    // Where a worker takes longer to start than it is let live, ten deaths in a row are enough.
    int before = 0;
    int in_vain = 0;
    int resume_at = 0;
    while (!done) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      if (served < resume_at) continue;
      const pid_t worker = server.worker(port);
      if (worker == 0 || children_of(worker).empty()) continue;
      ::kill(worker, SIGKILL);
      in_vain = served == before ? in_vain + 1 : 0;
      before = served;
      if (in_vain >= 10) resume_at = before + 10;
    }
  });
  constexpr int kConnections = 300;
  for (int i = 1; i <= kConnections; ++i) {
    const Client client("127.0.0.1", port);
    client.send(std::to_string(i));
    client.half_close();
    EXPECT_EQ(rest_of(client), kGreeting) << "connection " << i;
    ++served;
  }
  done = true;
  killer.join();
  for (int i = 1; i <= kConnections; ++i) EXPECT_EQ(file(workspace, i), std::to_string(i));
  EXPECT_EQ(names(workspace.path() / "files").size(), static_cast<std::size_t>(kConnections));
}

// Silence and resets

TEST(Accio, ASilentClientLeavesErrorAndOneThatSendsNowAndThenStays) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "idle_timeout = \"400ms\""));
  Server server(workspace, {"-c", "c.toml"});
  const Client busy("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("New connection", 1));
  const Client confirming("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("New connection", 2));
  const Client silent("127.0.0.1", port);
  ASSERT_TRUE(server.wait_for_err("New connection", 3));
  const Client stops("127.0.0.1", port);
  ASSERT_TRUE(stops.send(pattern(500'000, 1)));
  const Client half("127.0.0.1", port);
  ASSERT_TRUE(half.send("confirm-accio\r\nconf"));
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(busy.send("x"));
    ASSERT_TRUE(confirming.send(std::string(1, kConfirm[i])));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  for (int number = 3; number <= 5; ++number) EXPECT_EQ(file(workspace, number), "ERROR");
  for (const Client* client : {&silent, &stops, &half})
    EXPECT_TRUE(client->wait_for_close(std::chrono::milliseconds(100)));
  EXPECT_EQ(file(workspace, 1), std::string(12, 'x'));
  EXPECT_EQ(file(workspace, 2), "") << "within the handshake";
  busy.half_close();
  confirming.half_close();
  EXPECT_EQ(rest_of(busy), kGreeting);
  EXPECT_EQ(rest_of(confirming), kGreeting);
  EXPECT_EQ(file(workspace, 1), std::string(12, 'x'));
  EXPECT_EQ(file(workspace, 2), "confirm-acci");
  EXPECT_TRUE(server.wait_for_err("the file holds ERROR", 3));
}

TEST(Accio, WhatHadArrivedBeforeAResetStays) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick(port));
  Client client("127.0.0.1", port);
  ASSERT_EQ(receive(client, 7), kGreeting);
  ASSERT_TRUE(client.send("as far as it came"));
  ASSERT_TRUE(client.wait_until_acknowledged());
  client.reset();
  EXPECT_TRUE(server.wait_for_err("reset: Connection reset by peer"));
  EXPECT_EQ(file(workspace, 1), "as far as it came");
}

// Starts that fail

TEST(Accio, ABadStartSaysErrorFirstAndFails) {
  Workspace workspace;
  const auto port = free_ports(1);
  const std::string good = std::to_string(port);
  workspace.write("in_the_way", "");
  const auto start = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {built("stream-serverd"), "--runtime-dir", workspace / "run", "accio"});
    return run_program(arguments, {workspace.path().string(), {}, ""});
  };
  struct Case {
    std::vector<std::string> arguments;
    int code;
    std::string says;
  };
  for (const Case& bad :
       std::vector<Case>{{{"x", "files"}, 64, "'x' is not a port"},
                         {{"80a", "files"}, 64, "'80a' is not a port"},
                         {{"", "files"}, 64, "'' is not a port"},
                         {{"-1", "files"}, 64, ""},
                         {{"0", "files"}, 64, "'0' is not a port"},
                         {{"65536", "files"}, 64, "'65536' is not a port"},
                         {{"99999999999999999999", "files"}, 64, "is not a port"},
                         {{good}, 64, "Usage"},
                         {{}, 64, "Usage"},
                         {{good, "files", "more"}, 64, "Usage"},
                         {{good, ""}, 64, "the file directory must have a name"},
                         {{good, "in_the_way"}, 73, "in_the_way: "},
                         {{good, "in_the_way/below"}, 73, "in_the_way/below: Not a directory"},
                         {{good, "/proc/not_there"}, 73, "/proc/not_there: "}}) {
    const Finished run = start(bad.arguments);
    EXPECT_EQ(run.code, bad.code) << run.err;
    EXPECT_TRUE(run.err.starts_with("ERROR: ")) << run.err;
    EXPECT_NE(run.err.find(bad.says), std::string::npos) << run.err;
  }
}

TEST(Accio, ATakenPortSaysErrorAndFails) {
  Workspace workspace;
  const auto port = free_ports(1);
  const Workspace other_workspace;
  Server other(other_workspace, {"stream", "0.0.0.0", std::to_string(port), "1"});
  const Finished run = run_program({built("stream-serverd"), "--runtime-dir", workspace / "run",
                                    "accio", std::to_string(port), "files"},
                                   {workspace.path().string(), {}, ""});
  EXPECT_EQ(run.code, 69) << run.err;
  EXPECT_TRUE(run.err.starts_with("ERROR: ")) << run.err;
  EXPECT_NE(run.err.find(std::to_string(port) + ": Address already in use"), std::string::npos)
      << run.err;
}

/// As somebody who is not root and has no right to anything here.
Finished run_as_nobody(const Workspace& workspace, std::vector<std::string> arguments) {
  fs::permissions(workspace.path(), fs::perms(0777));
  arguments.insert(arguments.begin(),
                   {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                    built("stream-serverd"), "--runtime-dir", workspace / "run", "accio"});
  return run_program(arguments, {workspace.path().string(), {}, ""});
}

TEST(Accio, APrivilegedPortSaysErrorAndFails) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root, to become somebody else";
  Workspace workspace;
  std::string lowest;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> lowest;
  ASSERT_GT(std::stoi(lowest), 7) << "no port is privileged here";
  const Finished run = run_as_nobody(workspace, {"7", "files"});
  EXPECT_EQ(run.code, 69) << run.err;
  EXPECT_TRUE(run.err.starts_with("ERROR: ")) << run.err;
  EXPECT_NE(run.err.find(":7: Permission denied"), std::string::npos) << run.err;
}

TEST(Accio, ADirectoryThatCannotBeWrittenSaysErrorAndFails) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root, to become somebody else";
  Workspace workspace;
  fs::create_directory(workspace.path() / "closed");
  for (const std::string directory : {"closed", "closed/below"}) {
    const Finished run = run_as_nobody(workspace, {std::to_string(free_ports(1)), directory});
    EXPECT_EQ(run.code, 73) << run.err;
    EXPECT_TRUE(run.err.starts_with("ERROR: ")) << run.err;
    EXPECT_NE(run.err.find(directory + ": Permission denied"), std::string::npos) << run.err;
  }
}

// The end

TEST(Accio, EndsAtEachSignalWhateverClientsDo) {
  for (const int signal : {SIGQUIT, SIGTERM, SIGINT}) {
    Workspace workspace;
    const auto port = free_ports(1);
    Server server(workspace, quick(port));
    std::vector<std::unique_ptr<Client>> clients;
    for (const std::string sent : {"", "half a file", "conf", kConfirm}) {
      clients.push_back(std::make_unique<Client>("127.0.0.1", port));
      ASSERT_TRUE(clients.back()->send(sent));
      ASSERT_TRUE(server.wait_for_err("New connection", static_cast<int>(clients.size())));
    }
    for (const auto& client : clients) ASSERT_TRUE(client->wait_until_acknowledged());
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(server.stop(signal), 0) << "signal " << signal;
    EXPECT_LT(std::chrono::steady_clock::now() - before, Seconds(3)) << "signal " << signal;
    for (const auto& client : clients) EXPECT_TRUE(client->wait_for_close());
    EXPECT_EQ(file(workspace, 1), "");
    EXPECT_EQ(file(workspace, 2), "half a file");
    EXPECT_EQ(file(workspace, 3), "conf");
    EXPECT_EQ(file(workspace, 4), "");
  }
}

TEST(Accio, StoresWhatHadArrivedBeforeAStop) {
  for (int round = 0; round < 10; ++round) {
    Workspace workspace;
    const auto port = free_ports(1);
    Server server(workspace, quick(port));
    const Client client("127.0.0.1", port);
    ASSERT_EQ(receive(client, 7), kGreeting);
    const pid_t worker = server.worker(port);
    ::kill(worker, SIGSTOP);  // so that signal and bytes are there at once
    ASSERT_TRUE(client.send("confi"));
    ASSERT_TRUE(client.wait_until_acknowledged());
    server.program().signal(SIGTERM);
    ASSERT_TRUE(server.wait_for_err("Shutting down server..."));
    ::kill(worker, SIGCONT);
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(server.program().wait().value_or(-1), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - before, Seconds(3));
    EXPECT_EQ(file(workspace, 1), "confi");
  }
}

// Disks

TEST(Accio, AFullDiskHoldsTheSenderAndIsNoError) {
  Workspace workspace;
  const SmallDisk disk(workspace.path() / "files");
  ASSERT_TRUE(disk.mounted()) << "mount needs root";
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "idle_timeout = \"300ms\""));
  Server server(workspace, {"-c", "c.toml"});
  ASSERT_TRUE(disk.become(0, "size=1m"));
  const std::string sent = pattern(1'500'000, 1);
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send(sent));
  client.half_close();
  ASSERT_TRUE(server.wait_for_err("1.file: No space left on device; reading stops"));
  std::this_thread::sleep_for(Seconds(1));  // longer than idle_timeout
  ASSERT_TRUE(disk.become(0, SmallDisk::kRoomy));
  EXPECT_EQ(rest_of(client), kGreeting);
  EXPECT_TRUE(file(workspace, 1) == sent);
  EXPECT_TRUE(server.wait_for_err("output can be written again"));
  EXPECT_EQ(server.err().find("ERROR"), std::string::npos) << server.err();
}

TEST(Accio, AReadOnlyDiskHoldsTheSenderAndIsNoError) {
  Workspace workspace;
  const SmallDisk disk(workspace.path() / "files");
  ASSERT_TRUE(disk.mounted()) << "mount needs root";
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "idle_timeout = \"300ms\""));
  Server server(workspace, {"-c", "c.toml"});
  ASSERT_TRUE(disk.become(MS_RDONLY, SmallDisk::kRoomy));
  const std::string sent = pattern(500'000, 1);
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send(sent));
  ASSERT_TRUE(server.wait_for_err("1.file: Read-only file system; reading stops"));
  std::this_thread::sleep_for(Seconds(1));
  ASSERT_TRUE(disk.become(0, SmallDisk::kRoomy));
  EXPECT_TRUE(comes(workspace, 1, sent));
  client.half_close();
  EXPECT_EQ(rest_of(client), kGreeting);
  EXPECT_EQ(server.err().find("ERROR"), std::string::npos) << server.err();
}

TEST(Accio, ADirectoryThatVanishedHoldsNewcomersAndIsNoError) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "idle_timeout = \"1s\""));
  Server server(workspace, {"-c", "c.toml"});
  fs::remove_all(workspace.path() / "files");
  const std::string sent = pattern(500'000, 1);
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send(sent));
  client.half_close();
  ASSERT_TRUE(server.wait_for_err("No such file or directory; reading stops"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  fs::create_directory(workspace.path() / "files");
  EXPECT_EQ(rest_of(client), kGreeting);
  EXPECT_TRUE(file(workspace, 1) == sent);
  EXPECT_EQ(server.err().find("ERROR"), std::string::npos) << server.err();
}

TEST(Accio, AnUploadGoesOnInADirectoryThatIsRenamed) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick(port));
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send("before, "));
  ASSERT_TRUE(comes(workspace, 1, "before, "));
  fs::rename(workspace.path() / "files", workspace.path() / "elsewhere");
  ASSERT_TRUE(client.send("after"));
  client.half_close();
  rest_of(client);
  EXPECT_EQ(file_content(workspace / "elsewhere/1.file"), "before, after");
}

TEST(Accio, AFileThatCannotGrowHoldsOnlyItsOwnSender) {
  Workspace workspace;
  const auto port = free_ports(1);
  // Files of 2 MiB at most.
  Program server({"sh", "-c", "ulimit -f 4096; exec \"$@\"", "sh", built("stream-serverd"),
                  "--runtime-dir", workspace / "run", "accio", std::to_string(port), "files"},
                 {workspace.path().string(), {}, ""});
  ASSERT_TRUE(server.wait_for_err("ports up")) << server.err();
  const std::string sent = pattern(3'000'000, 1);
  const Client large("127.0.0.1", port);
  ASSERT_TRUE(large.send(sent));
  ASSERT_TRUE(server.wait_for_err("1.file: File too large; reading stops")) << server.err();
  const auto before = std::chrono::steady_clock::now();
  for (int number = 2; number <= 20; ++number) {
    const Client client("127.0.0.1", port);
    ASSERT_TRUE(client.send(sent.substr(0, 2'000'000)));
    client.half_close();
    EXPECT_EQ(rest_of(client), kGreeting);
    EXPECT_TRUE(file(workspace, number) == sent.substr(0, 2'000'000));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - before, Seconds(5));
  EXPECT_EQ(server.err().find("output can be written again"), std::string::npos) << server.err();
}

// Many

TEST(Accio, ServesHundredsAtOnce) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick(port));
  constexpr int kClients = 500;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 1; i <= kClients; ++i) {
    clients.push_back(std::make_unique<Client>("127.0.0.1", port));
    ASSERT_EQ(receive(*clients.back(), 7), kGreeting);
  }
  for (int i = 1; i <= kClients; ++i)
    ASSERT_TRUE(clients[static_cast<std::size_t>(i - 1)]->send(std::to_string(i)));
  for (const auto& client : clients) client->half_close();
  for (const auto& client : clients) ASSERT_TRUE(client->wait_for_close());
  for (int i = 1; i <= kClients; ++i) EXPECT_EQ(file(workspace, i), std::to_string(i));
}

TEST(Accio, WorksWithNetcat) {
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, quick(port));
  const std::string bytes = pattern(200'000, 5);
  workspace.write("in", bytes);
  const Finished run = run_program({"nc", "-N", "127.0.0.1", std::to_string(port)},
                                   {workspace.path().string(), {}, workspace / "in"});
  EXPECT_EQ(run.code, 0);
  EXPECT_EQ(run.out, kGreeting);
  EXPECT_TRUE(file(workspace, 1) == bytes);
}

TEST(Accio, TenSilentClientsAreAllGreetedAndOthersAreServedAfterTheirTimeOut) {
  Workspace workspace;
  const auto port = free_ports(1);
  workspace.write("c.toml", config(port, "idle_timeout = \"1s\""));
  Server server(workspace, {"-c", "c.toml"});
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(std::make_unique<Client>("127.0.0.1", port));
  for (const auto& client : silent) EXPECT_EQ(receive(*client, 7), kGreeting);
  for (const auto& client : silent) EXPECT_TRUE(client->wait_for_close());
  for (int number = 1; number <= 10; ++number) EXPECT_TRUE(comes(workspace, number, "ERROR"));
  const Client next("127.0.0.1", port);
  EXPECT_EQ(receive(next, 7), kGreeting);
  ASSERT_TRUE(next.send("served"));
  next.half_close();
  EXPECT_TRUE(next.wait_for_close());
  EXPECT_TRUE(comes(workspace, 11, "served"));
}

}  // namespace
}  // namespace serverd::test
