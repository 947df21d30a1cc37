#include "common/os/error.h"
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <memory>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd::test {
namespace {

/// The daemon, which says nothing on standard error but what is wrong.
class Monitor final {
 public:
  explicit Monitor(std::uint16_t port, const std::vector<std::string>& more = {"monitor"})
      : port_(port), program_(arguments(more), {workspace_.path().string(), {}, ""}) {
    if (!eventually([&] { return program_.out().find("...\n") != std::string::npos; }))
      throw std::runtime_error("the server did not start:\n" + program_.err());
  }

  Program& program() { return program_; }
  std::string out() const { return program_.out(); }
  /// Until all of `text` has been shown.
  bool shows(const std::string& text) {
    return eventually([&] { return out().find(text) != std::string::npos; });
  }
  pid_t worker() const {
    for (const pid_t pid : children_of(program_.pid()))
      if (!children_of(pid).empty()) return pid;
    return 0;
  }
  int stop(int signal) {
    program_.signal(signal);
    return program_.wait().value_or(-1);
  }

 private:
  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {built("stream-serverd"), "--runtime-dir", workspace_ / "run"};
    all.insert(all.end(), more.begin(), more.end());
    if (more.front() == "monitor") all.push_back(std::to_string(port_));
    return all;
  }

  Workspace workspace_;
  std::uint16_t port_;
  Program program_;
};

/// "('127.0.0.1', 33406)"
std::string name_of(const Client& client) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  ::getsockname(client.fd(), reinterpret_cast<sockaddr*>(&storage), &size);
  const bool v6 = storage.ss_family == AF_INET6;
  const std::uint16_t port = v6 ? reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port
                                : reinterpret_cast<sockaddr_in*>(&storage)->sin_port;
  return std::string("('") + (v6 ? "::1" : "127.0.0.1") + "', " + std::to_string(ntohs(port)) + ")";
}

std::string established(const Client& client) {
  return "Connection from " + name_of(client) + " established.\n";
}
std::string received(const Client& client, const std::string& text) {
  return "Received from " + name_of(client) + ": " + text + "\n";
}
std::string closed(const Client& client) {
  return "Connection from " + name_of(client) + " closed.\n";
}

TEST(Monitor, ShowsExactlyWhatPeopleKnow) {
  const auto port = free_ports(1);
  Monitor monitor(port);
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(monitor.shows(established(client)));
  ASSERT_TRUE(client.send("hello\nwindows\r\n"));
  ASSERT_TRUE(monitor.shows(received(client, "windows")));
  ASSERT_TRUE(client.send("no line end"));
  ASSERT_TRUE(monitor.shows(received(client, "no line end")));
  client.half_close();
  ASSERT_TRUE(client.wait_for_close());
  ASSERT_TRUE(monitor.shows(closed(client)));
  EXPECT_EQ(monitor.out(), "Listening on 0.0.0.0:" + std::to_string(port) + "...\n" +
                               established(client) + received(client, "hello") +
                               received(client, "windows") + received(client, "no line end") +
                               closed(client));
  EXPECT_EQ(monitor.stop(SIGINT), 0);
  EXPECT_EQ(monitor.program().err(), "");
}

TEST(Monitor, ListensWhereItIsTold) {
  const auto port = free_ports(1);
  Monitor monitor(port, {"monitor", "::1"});
  EXPECT_EQ(monitor.out(), "Listening on [::1]:" + std::to_string(port) + "...\n");
  const Client client("::1", port);
  ASSERT_TRUE(client.send("six\n"));
  EXPECT_TRUE(monitor.shows(received(client, "six")));
  EXPECT_THROW(Client("127.0.0.1", port), std::system_error);
}

TEST(Monitor, SaysWhatIsWrongWithItsArguments) {
  for (const auto& [arguments, says] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"x"}, "'x' is not a port"},
           {{"0"}, "'0' is not a port"},
           {{"65536"}, "'65536' is not a port"},
           {{"localhost", "5000"}, "'localhost' is not an IPv4 or IPv6 address"},
           {{"127.0.0.1", "5000", "x"}, "Usage"},
           {{}, "Usage"}}) {
    std::vector<std::string> all = {built("stream-serverd"), "monitor"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const Finished run = run_program(all);
    EXPECT_EQ(run.code, 64) << run.err;
    EXPECT_NE(run.err.find(says), std::string::npos) << run.err;
  }
}

TEST(Monitor, ShowsNothingRaw) {
  const auto port = free_ports(1);
  Monitor monitor(port);
  const Client client("127.0.0.1", port);
  std::string every_byte;
  for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i);
  ASSERT_TRUE(client.send(every_byte + "\x1b]0;title\x07 caf\xC3"));
  ASSERT_TRUE(client.wait_until_acknowledged());
  ASSERT_TRUE(monitor.shows("caf"));
  ASSERT_TRUE(client.send("\xA9\n"));
  ASSERT_TRUE(monitor.shows("é"));
  ASSERT_TRUE(client.send(pattern(3'000'000, 1)));
  client.half_close();
  ASSERT_TRUE(monitor.shows(closed(client)));
  const std::string out = monitor.out();
  EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](char c) {
    return c == '\n' || (c & 0x80) != 0 || (c >= ' ' && c < 0x7F);
  }));
  EXPECT_NE(out.find("\\x00\\x01"), std::string::npos);
  EXPECT_NE(out.find("\\xff"), std::string::npos);
  EXPECT_NE(out.find("\\x1b]0;title\\x07"), std::string::npos);
}

TEST(Monitor, ShowsALineOfMegabytes) {
  const auto port = free_ports(1);
  Monitor monitor(port);
  const Client client("127.0.0.1", port);
  ASSERT_TRUE(client.send(std::string(5'000'000, 'z') + "\nshort\n"));
  ASSERT_TRUE(monitor.shows(received(client, "short")));
  const std::string out = monitor.out();
  EXPECT_EQ(std::count(out.begin(), out.end(), 'z'), 5'000'000);
}

TEST(Monitor, SaysThatAConnectionWasReset) {
  const auto port = free_ports(1);
  Monitor monitor(port);
  Client client("127.0.0.1", port);
  const std::string name = name_of(client);
  ASSERT_TRUE(client.send("last words"));
  ASSERT_TRUE(monitor.shows("last words"));
  client.reset();
  EXPECT_TRUE(monitor.shows("Connection from " + name + " failed: Connection reset by peer.\n"))
      << monitor.out();
}

TEST(Monitor, EndsAtEachSignalWhateverClientsDo) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const auto port = free_ports(1);
    Monitor monitor(port);
    const Client silent("127.0.0.1", port);
    const Client talks("127.0.0.1", port);
    ASSERT_TRUE(talks.send("half a li"));
    ASSERT_TRUE(monitor.shows("half a li"));
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(monitor.stop(signal), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - before, Seconds(3));
    EXPECT_NE(monitor.out().find("Connection from " + name_of(silent) + " ended by the server.\n"),
              std::string::npos)
        << monitor.out();
  }
}

TEST(Monitor, LeavesNoLineOutThoughItsWorkerIsKilledAgainAndAgain) {
  const auto port = free_ports(1);
  Workspace files;
  files.write("c.toml",
              "[daemon]\nuser = \"\"\nlog_level = \"warning\"\n[restart]\nrate = 1000\n"
              "quarantine_after = 1000\ninitial = \"1ms\"\nmaximum = \"5ms\"\n[[service]]\n"
              "name = \"a\"\nprotocol = \"monitor\"\nlisten = [\"127.0.0.1:" +
                  std::to_string(port) + "\"]\n");
  Monitor monitor(port, {"-c", files / "c.toml"});
  std::atomic<bool> done = false;
  std::atomic<int> kills = 0;
  std::thread killer([&] {
    while (!done) {
      if (const pid_t worker = monitor.worker(); worker != 0) {
        ::kill(worker, SIGKILL);
        ++kills;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  std::vector<std::string> expected;
  for (int i = 0; i < 20; ++i) {
    const Client client("127.0.0.1", port);
    expected.push_back(established(client));
    for (int line = 0; line < 100; ++line) {
      const std::string text = "line " + std::to_string(i) + "." + std::to_string(line) + ".";
      ASSERT_TRUE(client.send(text + "\n"));
      expected.push_back(text);
      if (line % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    client.half_close();
    EXPECT_TRUE(client.wait_for_close());
    expected.push_back(closed(client));
  }
  done = true;
  killer.join();
  EXPECT_GT(kills, 5);
  ASSERT_TRUE(monitor.shows(expected.back()));
  const std::string out = monitor.out();
  for (const std::string& text : expected)
    EXPECT_NE(out.find(text), std::string::npos)
        << text << " was left out, after " << kills << " kills";
}

/// A FIFO instead of standard output, whose other end we have.
class Fifo final {
 public:
  Fifo() : path_(directory_ / "fifo") {
    check_call(::mkfifo(path_.c_str(), 0600), "mkfifo");
    fd_ =
        UniqueFd::adopt(check_call(::open(path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC), "open"));
  }
  std::string wrapper() const { return "exec \"$@\" > " + path_; }
  void fill() const {
    const std::string page(4096, 'f');
    while (::write(fd_.get(), page.data(), page.size()) > 0) continue;
  }
  std::string read() const {
    std::string text(1 << 20, '\0');
    const ssize_t n = ::read(fd_.get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  /// What comes until `text` is in it.
  std::string read_until(const std::string& text) const {
    std::string all;
    eventually([&] { return (all += read()).find(text) != std::string::npos; });
    return all;
  }

 private:
  Workspace directory_;
  std::string path_;
  UniqueFd fd_;
};

/// Sends lines until the other side takes no more; gives how much of their text it took.
std::size_t send_until_full(const Client& client) {
  const std::string lines = [] {
    std::string text;
    while (text.size() < 60'000) text += "a line of some length that nobody reads\n";
    return text;
  }();
  std::size_t sent = 0;
  auto last = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - last < std::chrono::milliseconds(500)) {
    const ssize_t n = ::send(client.fd(), lines.data(), lines.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n <= 0) continue;
    sent += static_cast<std::size_t>(n - std::count(lines.begin(), lines.begin() + n, '\n'));
    last = std::chrono::steady_clock::now();
  }
  return sent;
}

TEST(Monitor, APipeThatNobodyReadsSlowsOnlyTheSender) {
  const auto port = free_ports(1);
  const Fifo fifo;
  Program server(
      {"sh", "-c", fifo.wrapper(), "sh", built("stream-serverd"), "monitor", std::to_string(port)});
  ASSERT_NE(fifo.read_until("Listening").find("Listening on"), std::string::npos) << server.err();
  const Client client("127.0.0.1", port);
  const std::size_t sent = send_until_full(client);
  EXPECT_GT(sent, 60'000U);
  EXPECT_LT(sent, 50'000'000U) << "it is held back";
  EXPECT_TRUE(server.running());
  client.half_close();
  // And everything comes when somebody reads again.
  const std::string out = fifo.read_until(closed(client));
  std::size_t shown = 0;
  const std::string prefix = "Received from " + name_of(client) + ": ";
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(prefix)) shown += line.size() - prefix.size();
  EXPECT_EQ(shown, sent);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait().value_or(-1), 0);
}

TEST(Monitor, APipeThatNobodyReadsDoesNotHoldTheEnd) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const auto port = free_ports(1);
    const Fifo fifo;
    Program server({"sh", "-c", fifo.wrapper(), "sh", built("stream-serverd"), "monitor",
                    std::to_string(port)});
    ASSERT_NE(fifo.read_until("Listening").find("Listening on"), std::string::npos) << server.err();
    const Client client("127.0.0.1", port);
    send_until_full(client);
    const auto before = std::chrono::steady_clock::now();
    server.signal(signal);
    EXPECT_EQ(server.wait(Seconds(15)).value_or(-1), 0) << server.err();
    EXPECT_LT(std::chrono::steady_clock::now() - before, Seconds(8)) << "stop_timeout is 5 s";
  }
}

TEST(Monitor, ALineThatFoundThePipeFullIsShownWhenItIsRead) {
  const auto port = free_ports(1);
  const Fifo fifo;
  Program server(
      {"sh", "-c", fifo.wrapper(), "sh", built("stream-serverd"), "monitor", std::to_string(port)});
  ASSERT_NE(fifo.read_until("Listening").find("Listening on"), std::string::npos) << server.err();
  const auto shown_after_a_while = [&](const std::string& text) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return fifo.read_until(text).find(text) != std::string::npos;
  };
  fifo.fill();
  const Client client("127.0.0.1", port);
  EXPECT_TRUE(shown_after_a_while(established(client)));
  fifo.fill();
  client.half_close();
  EXPECT_TRUE(shown_after_a_while(closed(client)));
}

}  // namespace
}  // namespace serverd::test
