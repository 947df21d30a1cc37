#include "supervisor/control_protocol.h"

#include <gtest/gtest.h>

#include <string>

namespace serverd {
namespace {

/// What is wrong with a request; "good".
std::string complaint(const std::string& line) {
  const auto parsed = parse_request(line);
  const auto* wrong = std::get_if<std::string>(&parsed);
  return wrong == nullptr ? "good" : *wrong;
}

TEST(ControlProtocol, EveryRequestComesBackUnchanged) {
  for (int i = 0; i < static_cast<int>(ControlCommand::kCount); ++i) {
    ControlRequest request;
    request.command = static_cast<ControlCommand>(i);
    const std::string name = command_name(request.command);
    if (name == "ledger" || name == "restart" || name == "resume") request.port = 65535;
    if (name == "kill") request.connection = {5000, 18446744073709551615U};
    const auto parsed = parse_request(request_text(request));
    ASSERT_TRUE(std::holds_alternative<ControlRequest>(parsed)) << request_text(request);
    EXPECT_EQ(std::get<ControlRequest>(parsed), request) << request_text(request);
  }
}

TEST(ControlProtocol, SaysWhatIsWrongWithARequest) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not a request"},
      {"status", "not a request"},
      {"{\"command\":\"status\"", "not a request"},
      {"{\"command\":\"status\"} x", "not a request"},
      {"[]", "not a request (not an object)"},
      {"{\"command\":\"\xff\"}", "not a request"},
      {"{}", "'command' is missing"},
      {"{\"command\":1}", "'command' is missing, or is not a string"},
      {"{\"command\":\"sing\"}", "unknown command 'sing'; known are status, "},
      {"{\"command\":\"\\u001b[31m\"}", "unknown command '\\x1b[31m'"},
      {"{\"command\":\"status\",\"port\":1}", "status: unknown key 'port'"},
      {"{\"command\":\"restart\"}", "restart: 'port' is missing"},
      {"{\"command\":\"restart\",\"port\":0}", "restart: port: 0 is not a port (1-65535)"},
      {"{\"command\":\"restart\",\"port\":65536}", "65536 is not a port"},
      {"{\"command\":\"restart\",\"port\":-1}", "-1 is not a port"},
      {"{\"command\":\"restart\",\"port\":1.5}", "is not a port"},
      {"{\"command\":\"restart\",\"port\":\"5000\"}", "\"5000\" is not a port"},
      {"{\"command\":\"resume\",\"port\":[]}", "[] is not a port"},
      {"{\"command\":\"kill\"}", "kill: 'id' is missing"},
      {"{\"command\":\"kill\",\"id\":17}", "17 is not PORT-NUMBER"},
      {"{\"command\":\"kill\",\"id\":\"5000\"}", "is not PORT-NUMBER"},
      {"{\"command\":\"kill\",\"id\":\"5000-17\",\"port\":5000}", "kill: unknown key 'port'"},
  };
  for (const auto& [line, expected] : cases)
    EXPECT_NE(complaint(line).find(expected), std::string::npos) << line << "\n" << complaint(line);
}

TEST(ControlProtocol, ADeepRequestIsRefused) {
  EXPECT_NE(complaint("{\"command\":" + std::string(2000, '[')), "good");
}

TEST(ConnectionId, IsPortAndNumber) {
  const auto id = ConnectionId::parse("5000-17");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->port, 5000);
  EXPECT_EQ(id->number, 17U);
  EXPECT_EQ(id->to_string(), "5000-17");
  for (const char* wrong :
       {"", "-", "5000", "5000-", "-17", "5000-0", "0-17", "65536-1", "5000-17 ", " 5000-17",
        "5000--17", "+5000-17", "5000-18446744073709551616"})
    EXPECT_FALSE(ConnectionId::parse(wrong)) << wrong;
}

TEST(ControlProtocol, StatusHasExactlyTheDocumentedKeys) {
  const InstanceStatus status{
      "main",
      7,
      60,
      {{"capture", "stream", 5000, "up", 8, 2, 1, "was killed", 3, 4, 5, "a/b.bin"}}};
  EXPECT_EQ(
      status_text(status),
      "{\"name\":\"main\",\"pid\":7,\"uptime_s\":60,\"ports\":[{\"service\":\"capture\","
      "\"protocol\":\"stream\",\"port\":5000,\"state\":\"up\",\"worker_pid\":8,\"generation\":2,"
      "\"restarts\":1,\"last_death\":\"was killed\",\"connections\":3,\"accepted\":4,\"bytes\":5,"
      "\"file\":\"a/b.bin\"}]}");
  EXPECT_EQ(std::get<InstanceStatus>(parse_status(status_text(status))), status);
}

TEST(ControlProtocol, ConnectionsHaveExactlyTheDocumentedKeys) {
  ConnectionRow row;
  row.id = ConnectionId{5000, 17};
  row.service = "capture";
  row.protocol = "stream";
  row.local = "127.0.0.1:5000";
  row.peer = "[::1]:4";
  row.state = "ESTABLISHED";
  row.recv_q = 1;
  row.send_q = 2;
  row.pid = 3;
  row.bytes = 4;
  row.age_s = 5;
  EXPECT_EQ(
      connections_text({row}),
      "[{\"id\":\"5000-17\",\"service\":\"capture\",\"protocol\":\"stream\","
      "\"local\":\"127.0.0.1:5000\",\"peer\":\"[::1]:4\",\"state\":\"ESTABLISHED\",\"recv_q\":1,"
      "\"send_q\":2,\"pid\":3,\"bytes\":4,\"age_s\":5}]");
  EXPECT_EQ(connections_text({}), "[]");
}

TEST(ControlProtocol, RepliesComeBackUnchanged) {
  const ControlOutcome refused{"", "no", {"a.toml:1:2: x", "b"}, 78};
  EXPECT_EQ(parse_outcome(outcome_text(refused)), refused);
  const ControlOutcome done{"it is done", "", {}, 0};
  EXPECT_EQ(parse_outcome(outcome_text(done)), done);
  const std::vector<LedgerOwner> owners = {{"a", "stream", 1, 2}, {"b", "stream", 65535, 0}};
  EXPECT_EQ(std::get<std::vector<LedgerOwner>>(parse_ledgers(ledgers_text(owners))), owners);
}

TEST(ControlProtocol, ARefusalIsSeenInThePlaceOfFigures) {
  const std::string refusal = "{\"error\":\"too many clients\"}";
  EXPECT_EQ(std::get<ControlOutcome>(parse_status(refusal)).error, "too many clients");
  EXPECT_EQ(std::get<ControlOutcome>(parse_ledgers(refusal)).error, "too many clients");
}

TEST(ControlProtocol, AReplyThatIsNotUnderstoodIsAnError) {
  for (const char* line : {"", "x", "[]", "{}", "{\"ports\":7}", "{\"ledgers\":null}"}) {
    EXPECT_NE(parse_outcome(line).error, "") << line;
    EXPECT_TRUE(std::holds_alternative<ControlOutcome>(parse_status(line))) << line;
    EXPECT_TRUE(std::holds_alternative<ControlOutcome>(parse_ledgers(line))) << line;
  }
  const auto odd =
      parse_status("{\"name\":1,\"pid\":\"x\",\"ports\":[1,{\"port\":-5,\"bytes\":1e300}]}");
  ASSERT_TRUE(std::holds_alternative<InstanceStatus>(odd));
  EXPECT_EQ(std::get<InstanceStatus>(odd).ports.size(), 1U);
  EXPECT_EQ(std::get<InstanceStatus>(odd).ports[0].port, 0);
}

}  // namespace
}  // namespace serverd
