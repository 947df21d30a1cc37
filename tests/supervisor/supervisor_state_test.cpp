#include "supervisor/supervisor_state.h"

#include "common/config.h"
#include "common/ledger.h"
#include "common/os/memfd.h"
#include "common/os/socket.h"
#include "common/parcel.h"
#include "tests/support/temp_dir.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

constexpr char kWorkerConfig[] =
    "[[service]]\nname = \"capture\"\nprotocol = \"stream\"\noutput = \"/srv\"\n";

UniqueFd some_socket() { return UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

/// Puts `value` over `offset` of a memfd.
template <typename Value>
void overwrite(const UniqueFd& fd, std::size_t offset, Value value) {
  ASSERT_EQ(::pwrite(fd.get(), &value, sizeof value, static_cast<off_t>(offset)),
            static_cast<ssize_t>(sizeof value));
}

/// Tells files apart, whatever descriptor refers to them; "none".
std::string file_of(const UniqueFd& fd) {
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return "none";
  return fmt::format("{}:{}", status.st_dev, status.st_ino);
}

std::vector<std::string> files_of(const std::vector<UniqueFd>& fds) {
  std::vector<std::string> files;
  for (const UniqueFd& fd : fds) files.push_back(file_of(fd));
  return files;
}

class SupervisorStateTest : public testing::Test {
 protected:
  /// Why this cannot be taken over; "taken over".
  static std::string refusal_of_parcel(int parcel) {
    try {
      require_usable(unpack_state(parcel));
      return "taken over";
    } catch (const HandoffError& error) {
      return error.what();
    }
  }
  static std::string refusal(const std::vector<HandedFd>& descriptors) {
    return refusal_of_parcel(pack_state(descriptors).get());
  }
  std::string refusal_of_ledger(int ledger) const {
    return refusal({{"port.5000.config", config_.get()}, {"port.5000.ledger", ledger}});
  }
  std::string refusal_of_config(int config) const {
    return refusal({{"port.5000.config", config}, {"port.5000.ledger", ledger_.get()}});
  }
  /// Of `name` beside a port that is complete.
  std::string refusal_of_name(const std::string& name) const {
    return refusal({{"port.5000.config", config_.get()},
                    {"port.5000.ledger", ledger_.get()},
                    {name, socket_.get()}});
  }

  UniqueFd config_ = sealed_text("config", kWorkerConfig);
  UniqueFd ledger_ = ledger::create(5000, "stream", 4);
  UniqueFd socket_ = some_socket();
};

TEST_F(SupervisorStateTest, WhatIsPackedIsUnpackedTheSame) {
  const UniqueFd lock = sealed_text("lock", "");
  const UniqueFd second_config = sealed_text("config", kWorkerConfig);
  const UniqueFd second_ledger = ledger::create(65535, "stream", 0);
  std::vector<UniqueFd> sockets;
  for (int i = 0; i < 8; ++i) sockets.push_back(some_socket());
  const auto at = [&](std::size_t i) { return sockets[i].get(); };
  const UniqueFd parcel = pack_state({{"lock", lock.get()},
                                      {"socket.web", at(0)},
                                      {"socket.with.dots", at(1)},
                                      {"port.65535.config", second_config.get()},
                                      {"port.65535.ledger", second_ledger.get()},
                                      {"port.5000.listen", at(2)},
                                      {"port.5000.listen", at(3)},
                                      {"port.5000.config", config_.get()},
                                      {"port.5000.ledger", ledger_.get()},
                                      {"port.5000.parcel", at(4)},
                                      {"port.5000.parked", at(5)},
                                      {"port.5000.parked", at(6)},
                                      {"port.5000.worker.4711.12.ready", at(7)}});
  const SupervisorState state = unpack_state(parcel.get());
  EXPECT_EQ(file_of(state.lock), file_of(lock));
  ASSERT_EQ(state.sockets.size(), 2U);
  EXPECT_EQ(state.sockets[0].name, "web");
  EXPECT_EQ(file_of(state.sockets[0].fd), file_of(sockets[0]));
  EXPECT_EQ(state.sockets[1].name, "with.dots");
  EXPECT_EQ(file_of(state.sockets[1].fd), file_of(sockets[1]));

  ASSERT_EQ(state.ports.size(), 2U);
  const Port::Inherited& port = state.ports[0];
  EXPECT_EQ(port.port, 5000);
  EXPECT_EQ(files_of(port.listeners),
            (std::vector<std::string>{file_of(sockets[2]), file_of(sockets[3])}));
  EXPECT_EQ(file_of(port.config), file_of(config_));
  EXPECT_EQ(file_of(port.ledger), file_of(ledger_));
  EXPECT_EQ(file_of(port.parcel), file_of(sockets[4]));
  EXPECT_EQ(files_of(port.parcels),
            (std::vector<std::string>{file_of(sockets[5]), file_of(sockets[6])}));
  EXPECT_EQ(file_of(port.channel), file_of(sockets[7]));
  EXPECT_EQ(port.worker, 4711);
  EXPECT_EQ(port.generation, 12U);
  EXPECT_TRUE(port.ready);

  const Port::Inherited& bare = state.ports[1];
  EXPECT_EQ(bare.port, 65535);
  EXPECT_EQ(bare.worker, 0) << "it has none";
  EXPECT_TRUE(bare.listeners.empty());
  EXPECT_TRUE(bare.parcels.empty());
  EXPECT_EQ(file_of(bare.parcel) + file_of(bare.channel), "nonenone");
}

TEST_F(SupervisorStateTest, AWorkerThatWasNotReadyIsNot) {
  const UniqueFd parcel = pack_state({{"port.5000.config", config_.get()},
                                      {"port.5000.ledger", ledger_.get()},
                                      {"port.5000.worker.1.1.starting", socket_.get()}});
  const SupervisorState state = unpack_state(parcel.get());
  ASSERT_EQ(state.ports.size(), 1U);
  EXPECT_EQ(state.ports.front().worker, 1);
  EXPECT_FALSE(state.ports.front().ready);
}

TEST_F(SupervisorStateTest, PortsOfOneNumberOfWhichTheOthersAreRetiredStayApart) {
  std::vector<UniqueFd> ledgers;
  for (int i = 0; i < 3; ++i) ledgers.push_back(ledger::create(5000, "stream", 1));
  const UniqueFd parcel = pack_state({{"retired.5000.1.config", config_.get()},
                                      {"retired.5000.1.ledger", ledgers[0].get()},
                                      {"retired.5000.1.worker.10.1.ready", socket_.get()},
                                      {"port.5000.config", config_.get()},
                                      {"port.5000.ledger", ledgers[1].get()},
                                      {"port.5000.worker.20.1.ready", socket_.get()},
                                      {"retired.5000.3.config", config_.get()},
                                      {"retired.5000.3.ledger", ledgers[2].get()}});
  const SupervisorState state = unpack_state(parcel.get());
  ASSERT_EQ(state.ports.size(), 3U);
  const auto describe = [](const Port::Inherited& port) {
    return fmt::format("{} {} worker {} {}", port.port, port.retired ? "retired" : "live",
                       port.worker, file_of(port.ledger));
  };
  EXPECT_EQ(describe(state.ports[0]), "5000 live worker 20 " + file_of(ledgers[1]));
  EXPECT_EQ(describe(state.ports[1]), "5000 retired worker 10 " + file_of(ledgers[0]));
  EXPECT_EQ(describe(state.ports[2]), "5000 retired worker 0 " + file_of(ledgers[2]));
}

TEST_F(SupervisorStateTest, EveryDescriptorIsClosedOnExec) {
  const UniqueFd parcel = pack_state({{"lock", socket_.get()}, {"socket.x", socket_.get()}});
  const SupervisorState state = unpack_state(parcel.get());
  EXPECT_TRUE(::fcntl(state.lock.get(), F_GETFD) & FD_CLOEXEC);
  EXPECT_TRUE(::fcntl(state.sockets.front().fd.get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(SupervisorStateTest, MoreThanOneMessageHoldsArriveWhole) {
  constexpr unsigned kPorts = 300;
  std::vector<HandedFd> handed = {{"lock", socket_.get()}};
  for (unsigned port = 1; port <= kPorts; ++port) {
    handed.push_back({fmt::format("port.{}.listen", port), socket_.get()});
    handed.push_back({fmt::format("port.{}.config", port), config_.get()});
    handed.push_back({fmt::format("port.{}.ledger", port), ledger_.get()});
  }
  ASSERT_GT(handed.size(), 3 * kParcelMessageSize);
  const SupervisorState state = unpack_state(pack_state(handed).get());
  ASSERT_EQ(state.ports.size(), kPorts);
  for (unsigned i = 0; i < kPorts; ++i) {
    EXPECT_EQ(state.ports[i].port, i + 1);
    EXPECT_EQ(state.ports[i].listeners.size(), 1U) << "port " << i + 1;
    EXPECT_EQ(file_of(state.ports[i].config), file_of(config_)) << "port " << i + 1;
    EXPECT_EQ(file_of(state.ports[i].ledger), file_of(ledger_)) << "port " << i + 1;
  }
}

TEST_F(SupervisorStateTest, AMessageOfTheLongestNamesArrivesWhole) {
  // systemd takes names of up to 255 bytes, see FileDescriptorName= in systemd.socket(5).
  std::vector<HandedFd> handed;
  for (std::size_t i = 0; i < kParcelMessageSize; ++i)
    handed.push_back({fmt::format("socket.{:0>255}", i), socket_.get()});
  const SupervisorState state = unpack_state(pack_state(handed).get());
  ASSERT_EQ(state.sockets.size(), kParcelMessageSize);
  EXPECT_EQ(state.sockets.back().name, handed.back().name.substr(7));
}

TEST_F(SupervisorStateTest, NothingIsNothing) {
  const SupervisorState state = unpack_state(pack_state({}).get());
  EXPECT_TRUE(state.ports.empty());
  EXPECT_TRUE(state.sockets.empty());
  EXPECT_FALSE(state.lock);
}

TEST_F(SupervisorStateTest, AnUnknownNameIsRefused) {
  for (const char* name :
       {"", "locks", "socket", "port", "port.5000", "port.5000.", "port.5000.color",
        "port.5000.listen.more", "port.5000.ledger.more", "port.5000.worker",
        "port.5000.worker.1.1", "port.5000.worker.1.1.ready.more", "port.5000.worker.1.1.dead",
        "listener", "Lock", "lock.more", "retired.5000.ledger", "retired.5000.1.color"})
    EXPECT_EQ(refusal_of_name(name), fmt::format("supervisor state: unknown name '{}'", name));
}

TEST_F(SupervisorStateTest, ANumberThatIsNoneIsRefused) {
  for (const char* name :
       {"port..listen", "port.x.listen", "port.-1.listen", "port.0.listen", "port.65536.listen",
        "port.5000x.listen", "port. 5000.listen", "port.5000.worker.x.1.ready",
        "port.5000.worker..1.ready", "port.5000.worker.0.1.ready", "port.5000.worker.-1.1.ready",
        "port.5000.worker.99999999999.1.ready", "port.5000.worker.1.x.ready",
        "port.5000.worker.1.-1.ready", "retired.x.1.ledger", "retired.5000.x.ledger",
        "retired.5000.0.ledger"})
    EXPECT_EQ(refusal_of_name(name), fmt::format("supervisor state: '{}' is malformed", name));
}

TEST_F(SupervisorStateTest, WhatCanBeThereOnceIsRefusedTwice) {
  for (const char* name : {"lock", "port.5000.config", "port.5000.ledger", "port.5000.parcel"})
    EXPECT_EQ(refusal({{"lock", socket_.get()},
                       {"port.5000.config", config_.get()},
                       {"port.5000.ledger", ledger_.get()},
                       {"port.5000.parcel", socket_.get()},
                       {name, socket_.get()}}),
              fmt::format("supervisor state: '{}' is there twice", name));
  EXPECT_EQ(refusal({{"port.5000.worker.1.1.ready", socket_.get()},
                     {"port.5000.worker.2.2.ready", socket_.get()}}),
            "supervisor state: 'port.5000.worker.2.2.ready' is there twice");
}

TEST_F(SupervisorStateTest, NamesAndDescriptorsThatDifferInNumberAreRefused) {
  for (const char* names : {"lock", "lock:socket.x:socket.y"}) {
    const Parcel parcel = make_parcel();
    const int two[] = {socket_.get(), socket_.get()};
    ASSERT_EQ(put_into_parcel(parcel.entrance.get(), two, names), 0);
    EXPECT_EQ(refusal_of_parcel(parcel.held.get()),
              "supervisor state: names and descriptors differ in number")
        << names;
  }
}

TEST_F(SupervisorStateTest, APortWithoutLedgerOrConfigIsRefused) {
  const std::string missing = "supervisor state: port 5000: ledger or config is missing";
  EXPECT_EQ(refusal({{"port.5000.listen", socket_.get()}}), missing);
  EXPECT_EQ(refusal({{"port.5000.config", config_.get()}}), missing);
  EXPECT_EQ(refusal({{"port.5000.ledger", ledger_.get()}}), missing);
}

TEST_F(SupervisorStateTest, ALedgerOfAnotherLayoutIsRefused) {
  overwrite(ledger_, offsetof(ledger::Header, layout_version), ledger::kLayoutVersion + 1);
  EXPECT_EQ(refusal_of_ledger(ledger_.get()),
            fmt::format(
                "supervisor state: port 5000: ledger has layout version {}, this program knows {}",
                ledger::kLayoutVersion + 1, ledger::kLayoutVersion));
}

TEST_F(SupervisorStateTest, ACorruptedLedgerIsRefused) {
  overwrite(ledger_, offsetof(ledger::Header, magic), std::uint64_t{0});
  EXPECT_EQ(refusal_of_ledger(ledger_.get()), "supervisor state: port 5000: not a ledger");
  const UniqueFd other = ledger::create(5000, "stream", 4);
  overwrite(other, offsetof(ledger::Header, slot_count), std::uint32_t{5});
  EXPECT_EQ(
      refusal_of_ledger(other.get()),
      fmt::format("supervisor state: port 5000: ledger of {} bytes cannot hold the 5 slots it "
                  "announces",
                  sizeof(ledger::Layout) + 4 * sizeof(ledger::Slot)));
}

TEST_F(SupervisorStateTest, ALedgerThatIsSpoiltAfterTheCheckStopsNothing) {
  overwrite(ledger_, offsetof(ledger::Header, magic), std::uint64_t{0});
  const UniqueFd parcel = pack_state({{"port.5000.config", config_.get()},
                                      {"port.5000.ledger", ledger_.get()},
                                      {"port.5000.worker.4711.1.ready", socket_.get()}});
  SupervisorState state = unpack_state(parcel.get());
  ASSERT_EQ(state.ports.size(), 1U);
  Loop loop;
  const test::TempDir dir;
  const PortEnvironment environment{loop, -1, std::nullopt, dir.path(), [] {}};
  testing::internal::CaptureStderr();
  const Port port(environment, std::move(state.ports.front()));
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(port.state(), PoolState::kUp);
  EXPECT_EQ(port.worker(), 4711);
  EXPECT_NE(log.find("Port 5000: not a ledger"), std::string::npos) << log;
}

TEST_F(SupervisorStateTest, ALedgerThatCannotBeMappedIsRefused) {
  const std::string refused = refusal_of_ledger(socket_.get());
  EXPECT_TRUE(refused.starts_with("supervisor state: port 5000: mmap of descriptor ")) << refused;
}

TEST_F(SupervisorStateTest, AConfigThatItDoesNotUnderstandIsRefused) {
  EXPECT_EQ(
      refusal_of_config(sealed_text("config", std::string(kWorkerConfig) + "color = 1\n").get()),
      "supervisor state: port 5000: config:5:1: service.color: unknown key; known are files, "
      "idle_timeout, listen, max_connections, name, output, protocol");
  EXPECT_NE(refusal_of_config(sealed_text("config", "").get()), "taken over");
}

TEST_F(SupervisorStateTest, AConfigThatCannotBeReadIsRefused) {
  const std::string refused = refusal_of_config(socket_.get());
  EXPECT_TRUE(refused.starts_with("supervisor state: port 5000: read of descriptor ")) << refused;
}

TEST_F(SupervisorStateTest, WhatWasKeptIsThereAgainForTheNextStart) {
  const UniqueFd kept = pack_state({{"port.5000.config", config_.get()},
                                    {"port.5000.ledger", ledger_.get()},
                                    {"port.5000.snapshot", socket_.get()}});
  for (int start = 0; start < 3; ++start) {
    const SupervisorState state = unpack_kept_state(kept.get());
    ASSERT_EQ(state.ports.size(), 1U);
    EXPECT_EQ(file_of(state.ports[0].ledger), file_of(ledger_));
    EXPECT_EQ(file_of(state.ports[0].snapshot), file_of(socket_));
    EXPECT_FALSE(state.upgraded);
  }
}

TEST_F(SupervisorStateTest, OfWhatWasKeptOnlyWhatIsUnknownOrUselessIsPassedOver) {
  const UniqueFd foreign = sealed_text("config", "name = \"of the future\"");
  const UniqueFd kept = pack_state({{"nonsense", socket_.get()},
                                    {"port.5000.config", config_.get()},
                                    {"port.5000.ledger", ledger_.get()},
                                    {"port.5000.fountain", socket_.get()},
                                    {"port.6000.config", foreign.get()},
                                    {"port.6000.ledger", ledger_.get()},
                                    {"port.7000.config", config_.get()},
                                    {"port.8000.config", config_.get()},
                                    {"port.8000.ledger", foreign.get()}});
  const SupervisorState state = unpack_kept_state(kept.get());
  ASSERT_EQ(state.ports.size(), 1U);
  EXPECT_EQ(state.ports[0].port, 5000);
}

TEST_F(SupervisorStateTest, NamesAndNumbersThatDifferInWhatWasKeptAreNoReasonToFail) {
  Parcel parcel = make_parcel();
  const int two[] = {socket_.get(), config_.get()};
  ASSERT_EQ(put_into_parcel(parcel.entrance.get(), two, "lock"), 0);
  parcel.entrance.reset();
  EXPECT_TRUE(unpack_kept_state(parcel.held.get()).ports.empty());
}

TEST_F(SupervisorStateTest, TheNewestOfWhatWasKeptIsTakenAndTheOthersAreStale) {
  const UniqueFd old = pack_state({{"lock", socket_.get()}});
  const UniqueFd newest =
      pack_state({{"port.5000.config", config_.get()}, {"port.5000.ledger", ledger_.get()}});
  std::vector<NamedFd> inherited;
  inherited.push_back({"web", some_socket()});
  inherited.push_back({"kept.10", duplicate(newest.get())});
  inherited.push_back({"kept.9", duplicate(old.get())});
  inherited.push_back({"kept.11", some_socket()});  // whatever it is, none of ours
  const SupervisorState state = take_state(std::move(inherited));
  EXPECT_EQ(state.ports.size(), 1U);
  EXPECT_EQ(state.kept, 10U);
  EXPECT_EQ(state.stale, std::vector<std::string>{"kept.9"});
  ASSERT_EQ(state.sockets.size(), 2U);
  EXPECT_EQ(state.sockets[0].name, "web");
  EXPECT_EQ(state.sockets[1].name, "kept.11");
}

}  // namespace
}  // namespace serverd
