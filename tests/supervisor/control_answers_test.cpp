#include "supervisor/control_answers.h"

#include "common/ledger.h"
#include "common/os/socket.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

namespace serverd {
namespace {

/// An instance with one port, on which no worker can be started.
class ControlAnswersTest : public testing::Test {
 protected:
  ControlAnswersTest() {
    Config config;
    ServiceConfig service;
    service.name = "capture";
    service.listen = {{"", 0, 0, "any"}};
    service.protocol = StreamConfig{dir_ / "output", false};
    config.restart.initial = config.restart.maximum = Milliseconds(3'600'000);
    config.services = {service};
    std::vector<NamedFd> inherited;
    inherited.push_back({"any", listen_on(SocketAddress::from_host("127.0.0.1", 0).value(), 1)});
    ports_.carry_out(ports_.plan(config, inherited, std::nullopt));
    port_ = ports_.begin()->get();
  }

  std::string ask(const std::string& line) { return answer(target_, line, {1, 2}).line; }
  std::string port_text() const { return std::to_string(port_->number()); }

  test::TempDir dir_;
  Loop loop_;
  UniqueFd no_program_ = UniqueFd::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  PortEnvironment environment_{loop_, no_program_.get(), std::nullopt, dir_.path(), [] {}};
  Ports ports_{environment_};
  const Port* port_ = nullptr;
  std::vector<StopMode> stops_;
  ControlTarget target_{"main", ports_,
                        [] {
                          return ControlOutcome{"", "refused", {"c.toml:1:1: wrong"}, 78};
                        },
                        [this](StopMode mode) {
                          stops_.push_back(mode);
                          return ControlOutcome{"stopping", "", {}, 0};
                        }};
};

TEST_F(ControlAnswersTest, StatusNamesWhatAPortWaitsFor) {
  const auto parsed = parse_status(ask("{\"command\":\"status\"}"));
  ASSERT_TRUE(std::holds_alternative<InstanceStatus>(parsed));
  const auto& status = std::get<InstanceStatus>(parsed);
  EXPECT_EQ(status.name, "main");
  EXPECT_EQ(status.pid, ::getpid());
  ASSERT_EQ(status.ports.size(), 1U);
  EXPECT_EQ(status.ports[0].service, "capture");
  EXPECT_EQ(status.ports[0].state, "backoff");
  EXPECT_EQ(status.ports[0].worker_pid, 0);
  EXPECT_NE(status.ports[0].last_death.find("could not be started: "), std::string::npos);
}

TEST_F(ControlAnswersTest, WhatIsNoRequestIsRefused) {
  EXPECT_TRUE(ask("x").starts_with("{\"error\":\"not a request")) << ask("x");
}

TEST_F(ControlAnswersTest, APortThatIsHeldBackIsTriedAtOnce) {
  const unsigned before = port_->generation();
  for (const char* command : {"resume", "restart"})
    EXPECT_EQ(ask("{\"command\":\"" + std::string(command) + "\",\"port\":" + port_text() + "}"),
              "{\"ok\":true,\"message\":\"port " + port_text() + ": a worker is started\"}");
  EXPECT_EQ(port_->generation(), before + 2);
}

TEST_F(ControlAnswersTest, AnUnknownPortIsSaidToBeSo) {
  for (const char* command : {"restart", "resume", "ledger"})
    EXPECT_EQ(ask("{\"command\":\"" + std::string(command) + "\",\"port\":1}"),
              "{\"error\":\"port 1 is not one of this instance\",\"code\":64}");
}

TEST_F(ControlAnswersTest, AConnectionOfAPortWithoutAWorkerIsMarked) {
  const ledger::Ledger ledger(port_->ledger(), Mapping::Access::kReadWrite);
  ledger.slots()[3].id = 17;
  ledger.slots()[3].state = ledger::SlotState::kOpen;
  ledger.counters().open = 1;
  EXPECT_EQ(ask("{\"command\":\"kill\",\"id\":\"" + port_text() + "-17\"}"),
            "{\"ok\":true,\"message\":\"connection " + port_text() +
                "-17 is reset as soon as its port has a worker\"}");
  EXPECT_EQ(ledger.slots()[3].request, 17U);
  for (const std::string& id : {port_text() + "-18", std::string("1-17")})
    EXPECT_TRUE(ask("{\"command\":\"kill\",\"id\":\"" + id + "\"}")
                    .starts_with("{\"error\":\"there is no connection " + id));
}

TEST_F(ControlAnswersTest, LedgersComeReadOnly) {
  const ControlReply reply =
      answer(target_, "{\"command\":\"ledger\",\"port\":" + port_text() + "}", {1, 2});
  EXPECT_EQ(reply.line, "{\"ledgers\":[{\"service\":\"capture\",\"protocol\":\"stream\",\"port\":" +
                            port_text() + ",\"worker_pid\":0}]}");
  ASSERT_EQ(reply.descriptors.size(), 1U);
  const int fd = reply.descriptors[0].get();
  EXPECT_NO_THROW(ledger::Ledger(fd, Mapping::Access::kRead));
  EXPECT_THROW(ledger::Ledger(fd, Mapping::Access::kReadWrite), std::system_error);
}

TEST_F(ControlAnswersTest, StopDrainAndReloadAreTheInstances) {
  EXPECT_EQ(ask("{\"command\":\"stop\"}"), "{\"ok\":true,\"message\":\"stopping\"}");
  ask("{\"command\":\"drain\"}");
  EXPECT_EQ(stops_, (std::vector<StopMode>{StopMode::kStop, StopMode::kDrain}));
  EXPECT_EQ(ask("{\"command\":\"reload\"}"),
            "{\"error\":\"refused\",\"reasons\":[\"c.toml:1:1: wrong\"],\"code\":78}");
}

}  // namespace
}  // namespace serverd
