#include "common/ledger.h"
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <set>
#include <string>

#include <fcntl.h>
#include <unistd.h>

/// What becomes of a port whose ledger cannot be used.
namespace serverd::test {
namespace {

namespace fs = std::filesystem;
using ledger::Header;

std::string service(std::uint16_t port) {
  const std::string number = std::to_string(port);
  return "[[service]]\nname = \"s" + number + "\"\nprotocol = \"stream\"\noutput = \"output\"\n" +
         "listen = [\"127.0.0.1:" + number + "\"]\n";
}

std::string config(const std::string& services) { return "[daemon]\nuser = \"\"\n" + services; }

/// The memory that the supervisor keeps for a port.
UniqueFd ledger_of(pid_t supervisor, std::uint16_t port) {
  const std::string wanted = "/memfd:ledger-" + std::to_string(port);
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(supervisor) + "/fd"))
    if (fs::read_symlink(entry.path()).string().starts_with(wanted))
      return UniqueFd::adopt(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
  return {};
}

/// Two ports, of which the first one's ledger is spoilt under its running worker.
class SpoiltLedger : public testing::Test {
 protected:
  template <typename Value>
  void spoil(std::size_t offset, Value value) {
    const UniqueFd memory = ledger_of(server_.program().pid(), port_);
    ASSERT_TRUE(memory);
    ASSERT_EQ(::pwrite(memory.get(), &value, sizeof value, static_cast<off_t>(offset)),
              static_cast<ssize_t>(sizeof value));
  }
  void kill_worker() { ::kill(server_.worker(port_), SIGKILL); }
  std::string of_port(const std::string& text) const {
    return "Port " + std::to_string(port_) + ": " + text;
  }
  /// The worker refuses it, the port is quarantined, and the log says why and what to do.
  void expect_quarantined(const std::string& why) {
    EXPECT_TRUE(server_.wait_for_err("stream-worker: descriptor 'ledger': " + why))
        << server_.err();
    EXPECT_TRUE(server_.wait_for_err(of_port("the worker exited with code 78; quarantined")))
        << server_.err();
    EXPECT_TRUE(
        server_.wait_for_err(of_port("its ledger is of no use to any worker (" + why + ")")))
        << server_.err();
    EXPECT_TRUE(server_.program().running());
  }
  void expect_other_port_serves() {
    EXPECT_EQ(server_.worker(other_), other_worker_);
    const Client client("127.0.0.1", other_);
    EXPECT_TRUE(client.send("other"));
    client.half_close();
    EXPECT_TRUE(client.wait_for_close());
  }
  void reload(const std::string& services) {
    workspace_.write("c.toml", config(services));
    server_.program().signal(SIGHUP);
  }
  /// The content of the port's files, in any order.
  std::set<std::string> stored() const {
    std::set<std::string> contents;
    for (const auto& entry : fs::directory_iterator(workspace_.path() / "output"))
      if (entry.path().filename().string().starts_with("stream_" + std::to_string(port_) + "_"))
        contents.insert(file_content(entry.path()));
    return contents;
  }

  Workspace workspace_;
  std::uint16_t port_ = free_ports(2);
  std::uint16_t other_ = static_cast<std::uint16_t>(port_ + 1);
  Server server_{workspace_, [&]() -> std::vector<std::string> {
                   workspace_.write("c.toml", config(service(port_) + service(other_)));
                   return {"-c", "c.toml"};
                 }()};
  pid_t other_worker_ = server_.worker(other_);
};

TEST_F(SpoiltLedger, OfAnotherLayoutQuarantinesItsPortAlone) {
  ASSERT_NO_FATAL_FAILURE(
      spoil(offsetof(Header, layout_version), std::uint32_t{ledger::kLayoutVersion + 1}));
  kill_worker();
  expect_quarantined("ledger has layout version " + std::to_string(ledger::kLayoutVersion + 1) +
                     ", this program knows " + std::to_string(ledger::kLayoutVersion));
  expect_other_port_serves();
  EXPECT_EQ(server_.stop(SIGTERM), 0) << "and it can still be stopped";
}

TEST_F(SpoiltLedger, ThatIsNoneQuarantinesItsPortAlone) {
  ASSERT_NO_FATAL_FAILURE(spoil(offsetof(Header, magic), std::uint64_t{0}));
  kill_worker();
  expect_quarantined("not a ledger");
  expect_other_port_serves();
}

TEST_F(SpoiltLedger, WithMoreSlotsThanItHoldsQuarantinesItsPortAlone) {
  ASSERT_NO_FATAL_FAILURE(spoil(offsetof(Header, slot_count), std::uint32_t{0xFFFF'FFFF}));
  kill_worker();
  ASSERT_TRUE(server_.wait_for_err("cannot hold the 4294967295 slots it announces"))
      << server_.err();
  EXPECT_TRUE(server_.wait_for_err(of_port("its ledger is of no use"))) << server_.err();
  expect_other_port_serves();
}

TEST_F(SpoiltLedger, IsReplacedWhenItsPortIsRemovedAndAdded) {
  const Client client("127.0.0.1", port_);
  ASSERT_TRUE(client.send("before,"));
  ASSERT_TRUE(eventually([&] { return stored() == std::set<std::string>{"before,"}; }))
      << server_.err();
  ASSERT_NO_FATAL_FAILURE(spoil(offsetof(Header, magic), std::uint64_t{0}));
  kill_worker();
  expect_quarantined("not a ledger");
  EXPECT_FALSE(client.wait_for_close(std::chrono::milliseconds(0))) << "it is parked, for now";

  reload(service(other_));
  ASSERT_TRUE(server_.wait_for_err(of_port("connections of a dead worker are given up")))
      << server_.err();
  EXPECT_TRUE(client.wait_for_close());
  reload(service(port_) + service(other_));
  ASSERT_TRUE(server_.wait_for_err("Reloaded", 2)) << server_.err();
  const Client again("127.0.0.1", port_);
  EXPECT_TRUE(again.send("after"));
  again.half_close();
  EXPECT_TRUE(again.wait_for_close()) << server_.err();
  EXPECT_EQ(stored(), (std::set<std::string>{"before,", "after"}));
  expect_other_port_serves();
}

TEST_F(SpoiltLedger, StopsAnUpgradeBeforeAnythingIsTouched) {
  ASSERT_NO_FATAL_FAILURE(spoil(offsetof(Header, magic), std::uint64_t{0}));
  const pid_t worker = server_.worker(port_);
  server_.program().signal(SIGUSR2);
  ASSERT_TRUE(
      server_.wait_for_err("supervisor state: port " + std::to_string(port_) + ": not a ledger"))
      << server_.err();
  ASSERT_TRUE(server_.wait_for_err("Upgrade refused")) << server_.err();
  EXPECT_EQ(server_.worker(port_), worker);
  expect_other_port_serves();
}

}  // namespace
}  // namespace serverd::test
