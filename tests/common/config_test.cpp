#include "common/config.h"

#include "common/config_values.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace serverd {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

constexpr const char* kService = R"([[service]]
name = "a"
protocol = "stream"
listen = ["127.0.0.1:5000"]
)";

Lines errors_of(const std::string& text, ConfigUse use = ConfigUse::kDaemon) {
  const auto parsed = parse_config(text, "x.toml", use);
  const auto* errors = std::get_if<ConfigErrors>(&parsed);
  return errors == nullptr ? Lines{} : errors->lines;
}

/// The configuration, or a failure that prints the errors and an empty one.
Config parse(const std::string& text, ConfigUse use = ConfigUse::kDaemon) {
  EXPECT_EQ(errors_of(text, use), Lines{}) << text;
  auto parsed = parse_config(text, "x.toml", use);
  auto* config = std::get_if<Config>(&parsed);
  return config == nullptr ? Config{} : *config;
}

ServiceConfig parse_service(const std::string& keys) {
  const Config config = parse(kService + keys);
  return config.services.empty() ? ServiceConfig{} : config.services.front();
}

std::vector<ListenRange> listens(const std::string& items) {
  const Config config =
      parse("[[service]]\nname = \"a\"\nprotocol = \"stream\"\nlisten = [" + items + "]\n");
  return config.services.empty() ? std::vector<ListenRange>{} : config.services.front().listen;
}

/// What is said of a `listen` with these items; they stand in line 4 from column 10 on.
Lines listen_errors(const std::string& items) {
  return errors_of("[[service]]\nname = \"a\"\nprotocol = \"stream\"\nlisten = " + items + "\n");
}

ListenRange range(std::string host, std::uint16_t first, std::uint16_t last) {
  return {std::move(host), first, last, ""};
}

/// What is said of one key of a service that is otherwise right; it stands in line 5.
Lines service_errors(const std::string& key) { return errors_of(kService + key + "\n"); }

/// What is said of one key of [daemon] or [restart]; it stands in line 6.
Lines table_errors(const std::string& table, const std::string& key) {
  return errors_of(kService + ("[" + table + "]\n") + key + "\n");
}

// What may stand there

TEST(Config, TakesTheLeastThereCanBe) {
  const Config config = parse(kService);
  EXPECT_EQ(config.daemon, DaemonConfig{});
  EXPECT_EQ(config.restart, RestartConfig{});
  ServiceConfig expected;
  expected.name = "a";
  expected.listen = {range("127.0.0.1", 5000, 5000)};
  ASSERT_EQ(config.services.size(), 1U);
  EXPECT_EQ(config.services[0], expected);
}

TEST(Config, HasTheDocumentedDefaults) {
  const DaemonConfig daemon = parse(kService).daemon;
  EXPECT_EQ(daemon.name, "main");
  EXPECT_EQ(daemon.log_level, log::Level::kInfo);
  EXPECT_EQ(daemon.log_target, log::Target::kAuto);
  EXPECT_EQ(daemon.user, "stream-serverd");
  EXPECT_EQ(daemon.stop_timeout, 5s);
  EXPECT_EQ(daemon.drain_timeout, 30s);
  EXPECT_FALSE(daemon.skip_bind_failures);
  EXPECT_TRUE(daemon.survive_kill);
  const RestartConfig restart = parse(kService).restart;
  EXPECT_EQ(restart.rate, 20U);
  EXPECT_EQ(restart.initial, 100ms);
  EXPECT_EQ(restart.maximum, 30s);
  EXPECT_EQ(restart.quarantine_after, 5U);
  EXPECT_EQ(restart.quarantine_window, 60s);
  EXPECT_EQ(restart.probe_interval, 60s);
  EXPECT_EQ(restart.healthy_after, 60s);
  EXPECT_EQ(restart.start_timeout, 10s);
  EXPECT_EQ(restart.watchdog, 30s);
  EXPECT_EQ(restart.blame_after, 3U);
  const ServiceConfig service = parse_service("");
  EXPECT_EQ(service.max_connections, 4096U);
  EXPECT_EQ(service.idle_timeout, 0s);
  EXPECT_EQ(std::get<StreamConfig>(service.protocol).output, "output");
  EXPECT_FALSE(std::get<StreamConfig>(service.protocol).file_per_connection);
}

TEST(Config, ReadsEveryKeyOfDaemon) {
  const DaemonConfig daemon = parse(std::string(kService) + R"([daemon]
name = "lab-1_x.y"
log_level = "debug"
log_target = "journal"
user = ""
stop_timeout = "1h"
drain_timeout = "0s"
on_bind_failure = "skip"
sandbox = "required"
survive_kill = false
)")
                                  .daemon;
  EXPECT_EQ(daemon.name, "lab-1_x.y");
  EXPECT_EQ(daemon.log_level, log::Level::kDebug);
  EXPECT_EQ(daemon.log_target, log::Target::kJournal);
  EXPECT_EQ(daemon.user, "");
  EXPECT_EQ(daemon.stop_timeout, 1h);
  EXPECT_EQ(daemon.drain_timeout, 0s);
  EXPECT_TRUE(daemon.skip_bind_failures);
  EXPECT_EQ(daemon.sandbox, SandboxMode::kRequired);
  EXPECT_FALSE(daemon.survive_kill);
}

TEST(Config, ReadsEveryKeyOfRestart) {
  const RestartConfig restart = parse(std::string(kService) + R"([restart]
rate = 1000
initial = "1ms"
maximum = "1d"
quarantine_after = 1
quarantine_window = "1s"
probe_interval = "100ms"
healthy_after = "24h"
start_timeout = "60min"
watchdog = "0s"
blame_after = 1000
)")
                                    .restart;
  EXPECT_EQ(restart.rate, 1000U);
  EXPECT_EQ(restart.initial, 1ms);
  EXPECT_EQ(restart.maximum, 24h);
  EXPECT_EQ(restart.quarantine_after, 1U);
  EXPECT_EQ(restart.quarantine_window, 1s);
  EXPECT_EQ(restart.probe_interval, 100ms);
  EXPECT_EQ(restart.healthy_after, 24h);
  EXPECT_EQ(restart.start_timeout, 1h);
  EXPECT_EQ(restart.watchdog, 0s);
  EXPECT_EQ(restart.blame_after, 1000U);
}

TEST(Config, ReadsEveryKeyOfAStreamService) {
  const ServiceConfig service = parse_service(R"(max_connections = 1000000
idle_timeout = "30d"
output = "/data/ünder \"quotes\""
files = "per-connection"
)");
  EXPECT_STREQ(service.protocol_name(), "stream");
  EXPECT_EQ(service.max_connections, 1'000'000U);
  EXPECT_EQ(service.idle_timeout, 24h * 30);
  EXPECT_EQ(std::get<StreamConfig>(service.protocol).output, "/data/ünder \"quotes\"");
  EXPECT_TRUE(std::get<StreamConfig>(service.protocol).file_per_connection);
}

/// A service of `protocol` with these keys.
ServiceConfig service_of(const std::string& protocol, const std::string& keys = "") {
  const Config config = parse("[[service]]\nname = \"a\"\nprotocol = \"" + protocol +
                              "\"\nlisten = [\"127.0.0.1:5000\"]\n" + keys + "\n");
  return config.services.empty() ? ServiceConfig{} : config.services.front();
}

/// What is said of one of its keys; it stands in line 5.
Lines errors_of_service_of(const std::string& protocol, const std::string& key) {
  return errors_of("[[service]]\nname = \"a\"\nprotocol = \"" + protocol +
                   "\"\nlisten = [\"127.0.0.1:5000\"]\n" + key + "\n");
}

TEST(Config, HasTheDocumentedDefaultsOfAccio) {
  const ServiceConfig service = service_of("accio");
  EXPECT_STREQ(service.protocol_name(), "accio");
  EXPECT_EQ(service.idle_timeout, 10s);
  EXPECT_EQ(std::get<AccioConfig>(service.protocol),
            (AccioConfig{"output", AccioHandshake::kAuto, false}));
}

TEST(Config, ReadsEveryKeyOfAnAccioService) {
  const ServiceConfig service = service_of("accio", R"(idle_timeout = "0s"
output = "files"
handshake = "required"
existing = "replace")");
  EXPECT_EQ(service.idle_timeout, 0s);
  EXPECT_EQ(std::get<AccioConfig>(service.protocol),
            (AccioConfig{"files", AccioHandshake::kRequired, true}));
}

TEST(Config, ReadsAMonitorService) {
  const ServiceConfig service = service_of("monitor");
  EXPECT_STREQ(service.protocol_name(), "monitor");
  EXPECT_EQ(service.idle_timeout, 0s);
  EXPECT_TRUE(std::holds_alternative<MonitorConfig>(service.protocol));
  EXPECT_EQ(service_of("monitor", "idle_timeout = \"1s\"").idle_timeout, 1s);
}

TEST(Config, AnIdleTimeoutHoldsWhereverItStands) {
  const std::string before = "[[service]]\nidle_timeout = \"3s\"\nprotocol = \"accio\"\n";
  EXPECT_EQ(
      parse(before + "name = \"a\"\nlisten = [\"127.0.0.1:5000\"]\n").services.at(0).idle_timeout,
      3s);
}

TEST(Config, TakesEveryWordOfAccio) {
  const auto accio = [](const std::string& key) {
    return std::get<AccioConfig>(service_of("accio", key).protocol);
  };
  EXPECT_EQ(accio("handshake = \"auto\"").handshake, AccioHandshake::kAuto);
  EXPECT_EQ(accio("handshake = \"none\"").handshake, AccioHandshake::kNone);
  EXPECT_FALSE(accio("existing = \"continue\"").replace_existing);
}

TEST(Config, RefusesWhatAccioDoesNotKnow) {
  EXPECT_EQ(errors_of_service_of("accio", "handshake = \"always\""),
            (Lines{"x.toml:5:13: service.handshake: \"always\" is not one of auto, none, "
                   "required"}));
  EXPECT_EQ(errors_of_service_of("accio", "existing = \"overwrite\""),
            (Lines{"x.toml:5:12: service.existing: \"overwrite\" is not one of continue, "
                   "replace"}));
  EXPECT_EQ(errors_of_service_of("accio", "output = \"\"").size(), 1U);
  EXPECT_EQ(errors_of_service_of("accio", "files = \"per-port\"").size(), 1U);
  EXPECT_EQ(errors_of_service_of("stream", "handshake = \"auto\"").size(), 1U);
  EXPECT_EQ(errors_of_service_of("monitor", "output = \"x\"").size(), 1U);
}

TEST(Config, RefusesSeveralPortsThatWouldReplaceEachOthersFiles) {
  const auto errors = [](const std::string& listen, const std::string& existing) {
    return errors_of("[[service]]\nname = \"a\"\nprotocol = \"accio\"\nlisten = [" + listen +
                     "]\nexisting = \"" + existing + "\"\n");
  };
  const Lines refused = {
      "x.toml:5:12: service.existing: \"replace\" with more than one port, which would replace "
      "each other's files; write one service for each, with directories of their own"};
  EXPECT_EQ(errors("\"127.0.0.1:5000-5001\"", "replace"), refused);
  EXPECT_EQ(errors("\"127.0.0.1:5000\", \"127.0.0.2:5001\"", "replace"), refused);
  EXPECT_EQ(errors("\"*:5000\", \"systemd:x\"", "replace"), refused);
  EXPECT_EQ(errors("\"*:5000\"", "replace"), Lines{});
  EXPECT_EQ(errors("\"127.0.0.1:5000\", \"[::1]:5000\"", "replace"), Lines{});
  EXPECT_EQ(errors("\"systemd:x\"", "replace"), Lines{});
  EXPECT_EQ(errors("\"*:5000-5001\"", "continue"), Lines{});
}

TEST(Config, TakesEveryWord) {
  const auto daemon = [](const std::string& key) {
    return parse(std::string(kService) + "[daemon]\n" + key).daemon;
  };
  EXPECT_EQ(daemon("log_level = \"debug\"").log_level, log::Level::kDebug);
  EXPECT_EQ(daemon("log_level = \"info\"").log_level, log::Level::kInfo);
  EXPECT_EQ(daemon("log_level = \"warning\"").log_level, log::Level::kWarning);
  EXPECT_EQ(daemon("log_level = \"error\"").log_level, log::Level::kError);
  EXPECT_EQ(daemon("log_target = \"auto\"").log_target, log::Target::kAuto);
  EXPECT_EQ(daemon("log_target = \"journal\"").log_target, log::Target::kJournal);
  EXPECT_EQ(daemon("log_target = \"stderr\"").log_target, log::Target::kStderr);
  EXPECT_FALSE(daemon("on_bind_failure = \"fail\"").skip_bind_failures);
  EXPECT_EQ(daemon("").sandbox, SandboxMode::kOn);
  EXPECT_EQ(daemon("sandbox = \"on\"").sandbox, SandboxMode::kOn);
  EXPECT_EQ(daemon("sandbox = \"required\"").sandbox, SandboxMode::kRequired);
  EXPECT_EQ(daemon("sandbox = \"off\"").sandbox, SandboxMode::kOff);
  EXPECT_FALSE(
      std::get<StreamConfig>(parse_service("files = \"per-port\"").protocol).file_per_connection);
}

TEST(Config, TakesDottedKeysAndInlineTables) {
  const Config config = parse(R"(daemon.name = "b"
restart = { rate = 3, initial = "1s" }
service = [
  { name = "x", protocol = "stream", listen = ["127.0.0.1:1"] },
  { name = "y", protocol = "stream", listen = ["127.0.0.1:2"] },
]
)");
  EXPECT_EQ(config.daemon.name, "b");
  EXPECT_EQ(config.restart.rate, 3U);
  ASSERT_EQ(config.services.size(), 2U);
  EXPECT_EQ(config.services[1].name, "y");
}

TEST(Config, TakesQuotedKeys) {
  const Config config =
      parse(R"("service" = [{ 'name' = "x", "protocol" = 'stream', listen = [ # in between
"127.0.0.1:1", '127.0.0.1:2', """127.0.0.1:3"""]}]
["daemon"]
"na\u006de"="b"
[ 'restart' ]
rate = 3
)");
  EXPECT_EQ(config.daemon.name, "b");
  EXPECT_EQ(config.restart.rate, 3U);
  EXPECT_EQ(parse(std::string("daemon.\"name\" = 'c'\n") + kService).daemon.name, "c");
  EXPECT_EQ(parse(std::string("daemon = {'name' = 'c'}\n") + kService).daemon.name, "c");
}

TEST(Config, TakesNestedValuesAndKeysOfEveryForm) {
  // All of it is TOML, so that only the keys are complained about.
  for (const std::string text :
       {"a = [[1], [ [2] ],\n[{b = 1, c = {d = [2]}}, {b=[]}]]\n", "[a . \"b\" . 'c']\n",
        "[[ a.\"b.c\" ]] # x = [1]\n", "a.'b' . c = {}\n", "a = 2026-11-20 10:00:00\n",
        "a = [1.5, -2e3, 0x1F, true, inf, \"x\", 'y'] # \"\n", "3.14 = {1.\"2\" = 3.4}\n",
        "a = \"\"\"x\"\"\"\"\" # y\nb = '''''x'''''\n",
        "a = [ # one\n  \"é\" # two\n  , 1,\n]\n"}) {
    const Lines lines = errors_of(text + kService);
    EXPECT_FALSE(lines.empty()) << text;
    for (const std::string& line : lines) EXPECT_NE(line.find(": unknown "), line.npos) << line;
  }
}

TEST(Config, TakesWindowsLineEndsAndAByteOrderMark) {
  const Config config = parse(
      "\xEF\xBB\xBF[[service]]\r\nname = \"a\"\r\nprotocol = \"stream\"\r\n"
      "listen = [\"127.0.0.1:1\"]\r\n");
  EXPECT_EQ(config.services.size(), 1U);
}

TEST(Config, ReadsThePackagedExample) {
  const auto read = read_config(SOURCE_DIR "/etc/stream-serverd.toml", ConfigUse::kDaemon);
  if (const auto* errors = std::get_if<ConfigErrors>(&read)) FAIL() << errors->lines.front();
  const Config& config = std::get<Config>(read);
  EXPECT_EQ(config.daemon, DaemonConfig{});
  EXPECT_EQ(config.restart, RestartConfig{});
  ASSERT_EQ(config.services.size(), 1U);
  const std::vector<ListenRange> expected = {range("127.0.0.1", 5000, 5002),
                                             range("::1", 5000, 5002)};
  EXPECT_EQ(config.services[0].name, "capture");
  EXPECT_EQ(config.services[0].listen, expected);
  EXPECT_EQ(std::get<StreamConfig>(config.services[0].protocol).output,
            "/var/lib/stream-serverd/capture");
}

TEST(Config, TakesThePackagedExampleUncommented) {
  std::istringstream example(test::file_content(SOURCE_DIR "/etc/stream-serverd.toml"));
  std::string text;
  for (std::string line; std::getline(example, line);) {
    const bool is_setting = line.starts_with("# [[") || line.find(" = ") != std::string::npos;
    text += (line.starts_with("# ") && is_setting ? line.substr(2) : line) + "\n";
  }
  EXPECT_EQ(parse(text).services.size(), 7U);
}

// Durations

TEST(Config, ReadsDurations) {
  const std::vector<std::pair<std::string, Milliseconds>> table = {
      {"0s", 0ms},
      {"0ms", 0ms},
      {"5s", 5s},
      {"100ms", 100ms},
      {"1.5h", 90min},
      {"2min", 2min},
      {"2m", 2min},
      {"1d", 24h},
      {"0.5s", 500ms},
      {"1.001s", 1001ms},
      {"1.5000000000000s", 1500ms},
      {"007s", 7s},
      {"0.25min", 15s},
      {"0.00000001157407407407407d", -1ms},
      {"0.0000000125d", -1ms},
      {"0.000000625d", 54ms}};
  for (const auto& [text, expected] : table) {
    const auto parsed = parse_duration(text);
    const auto* duration = std::get_if<Milliseconds>(&parsed);
    EXPECT_EQ(duration == nullptr ? -1ms : *duration, expected) << text;
  }
}

TEST(Config, RefusesWhatIsNoDuration) {
  const std::string form = "write a number and one of ms, s, min, h, d, as in \"5s\" or \"1.5h\"";
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", "not a duration; " + form},
      {"s", "not a duration; " + form},
      {"+5s", "not a duration; " + form},
      {" 5s", "not a duration; " + form},
      {".5s", "not a duration; " + form},
      {"5.s", "not a duration; " + form},
      {"1.2.3s", "not a duration; " + form},
      {"five", "not a duration; " + form},
      {"5", "a duration has a unit; " + form},
      {"0", "a duration has a unit; " + form},
      {"5 s", "\" s\" is not a unit; " + form},
      {"5S", "\"S\" is not a unit; " + form},
      {"5sec", "\"sec\" is not a unit; " + form},
      {"1h30m", "\"h30m\" is not a unit; " + form},
      {"1e3s", "\"e3s\" is not a unit; " + form},
      {"-5s", "a duration cannot be negative"},
      {"0.1ms", "finer than a millisecond"},
      {"1.00000000000000000000000000000001d", "finer than a millisecond"},
      {"9223372036854775807ms", "too long"},
      {"106751991168d", "too long"},
      {"99999999999999999999999999999999d", "too long"}};
  for (const auto& [text, expected] : table) {
    const auto parsed = parse_duration(text);
    const auto* problem = std::get_if<Problem>(&parsed);
    EXPECT_EQ(problem == nullptr ? "taken" : problem->text, expected) << text;
  }
}

TEST(Config, WritesDurationsThatReadBack) {
  for (const Milliseconds duration : {0ms, 1ms, 999ms, 1000ms, 1500ms, 60'000ms, 90'000ms,
                                      3'600'000ms, 86'400'000ms, 86'400'001ms}) {
    const auto parsed = parse_duration(format_duration(duration));
    ASSERT_TRUE(std::holds_alternative<Milliseconds>(parsed)) << format_duration(duration);
    EXPECT_EQ(std::get<Milliseconds>(parsed), duration);
  }
  EXPECT_EQ(format_duration(90s), "90s");
  EXPECT_EQ(format_duration(24h), "1d");
}

// Addresses

TEST(Config, ReadsAddresses) {
  using Ranges = std::vector<ListenRange>;
  EXPECT_EQ(listens(R"("127.0.0.1:5000")"), Ranges{range("127.0.0.1", 5000, 5000)});
  EXPECT_EQ(listens(R"("0.0.0.0:1-65535")"), Ranges{range("0.0.0.0", 1, 65535)});
  EXPECT_EQ(listens(R"("[::1]:5000-5002")"), Ranges{range("::1", 5000, 5002)});
  EXPECT_EQ(listens(R"("[2001:DB8:0:0::1]:80")"), Ranges{range("2001:db8::1", 80, 80)});
  EXPECT_EQ(listens(R"("[fe80::1%lo]:80")"), Ranges{range("fe80::1%lo", 80, 80)});
  EXPECT_EQ(listens(R"("*:80-81")"), (Ranges{range("0.0.0.0", 80, 81), range("::", 80, 81)}));
  EXPECT_EQ(listens(R"("systemd:web-1")"), (Ranges{{"", 0, 0, "web-1"}}));
  EXPECT_EQ(listens(R"("1.2.3.4:5", "1.2.3.5:5")").size(), 2U);
  EXPECT_EQ(listens("\"systemd:" + std::string(255, 'n') + "\"").size(), 1U);
}

TEST(Config, RefusesWhatIsNoAddress) {
  const std::string no_port =
      "there is no port; write HOST:PORT or HOST:FIRST-LAST, as in \"127.0.0.1:5000\"";
  const std::string no_name =
      " is not an address, and names are not looked up; write one as in \"127.0.0.1:5000\" or "
      "\"[::1]:5000\"";
  const std::string inherited =
      "the name of an inherited socket has 1–255 printable characters without ':'";
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", no_port},
      {"127.0.0.1", no_port},
      {"[::1]", no_port},
      {"[::1]5000", no_port},
      {"127.0.0.1:", "nothing is not a port (1–65535)"},
      {"127.0.0.1:0", "0 is not a port (1–65535)"},
      {"127.0.0.1:70000", "70000 is not a port (1–65535)"},
      {"127.0.0.1:-5", "nothing is not a port (1–65535)"},
      {"127.0.0.1:5-", "nothing is not a port (1–65535)"},
      {"127.0.0.1:+5", "+5 is not a port (1–65535)"},
      {"127.0.0.1:5 ", "5  is not a port (1–65535)"},
      {"127.0.0.1:http", "http is not a port (1–65535)"},
      {"127.0.0.1:99999999999999", "99999999999999 is not a port (1–65535)"},
      {"127.0.0.1:5-6-7", "6-7 is not a port (1–65535)"},
      {"127.0.0.1:5002-5000", "5002-5000 ends before it begins; write 5000-5002"},
      {"localhost:80", "\"localhost\"" + no_name},
      {"**:80", "\"**\"" + no_name},
      {":80", "there is no address; for all addresses write *"},
      {"[]:80", "there is no address; for all addresses write *"},
      {"[*]:80", "\"*\" is not an IPv6 address; only those stand in brackets"},
      {"[127.0.0.1]:80", "\"127.0.0.1\" is not an IPv6 address; only those stand in brackets"},
      {"::1:80", "an IPv6 address stands in brackets, as in \"[::1]:5000\""},
      {"[::1:80", "the bracket is not closed"},
      {"[::g]:80", "\"::g\" is not an IPv6 address"},
      {"[fe80::1%nosuch0]:80",
       "\"fe80::1%nosuch0\" is not an IPv6 address with an interface of this machine"},
      {"[::ffff:1.2.3.4]:80", "an IPv4 address in IPv6 clothing; write the IPv4 address"},
      {"1:80", "\"1\" is not an IPv4 address"},
      {"256.1.1.1:80", "\"256.1.1.1\" is not an IPv4 address"},
      {"127.0.0.1 :80", "\"127.0.0.1 \"" + no_name},
      {"systemd:", inherited},
      {"systemd:a:b", inherited},
      {"systemd:a b", inherited},
      {"systemd:ü", inherited},
      {"systemd:" + std::string(256, 'n'), inherited}};
  for (const auto& [text, expected] : table) {
    const auto parsed = parse_listen_item(text);
    const auto* problem = std::get_if<Problem>(&parsed);
    EXPECT_EQ(problem == nullptr ? "taken" : problem->text, expected) << text;
  }
  const auto hidden = parse_listen_item(std::string_view("127.0.0.1\0x:80", 14));
  EXPECT_TRUE(std::holds_alternative<Problem>(hidden));
}

TEST(Config, PointsAtTheItemOfListenThatIsWrong) {
  EXPECT_EQ(listen_errors(R"(["127.0.0.1:1", "0.0.0.0:70000"])"),
            (Lines{"x.toml:4:26: service.listen: \"0.0.0.0:70000\": 70000 is not a port "
                   "(1–65535)"}));
  EXPECT_EQ(listen_errors("[\n  7,\n]"),
            (Lines{"x.toml:5:3: service.listen: 7 is an integer; write a string, as in "
                   "\"127.0.0.1:5000\""}));
  EXPECT_EQ(listen_errors("[]"),
            (Lines{"x.toml:4:10: service.listen: empty; write at least one \"HOST:PORT\""}));
  EXPECT_EQ(listen_errors("\"127.0.0.1:1\""),
            (Lines{"x.toml:4:10: service.listen: \"127.0.0.1:1\" is a string; write an array of "
                   "strings, as in [\"127.0.0.1:5000\"]"}));
}

TEST(Config, BoundsTheItemsOfListen) {
  std::string items;
  for (int port = 1; port <= 256; ++port) items += fmt::format("\"127.0.0.1:{}\",", port);
  EXPECT_EQ(listens(items).size(), 256U);
  EXPECT_EQ(listen_errors("[" + items + "\"127.0.0.1:257\"]"),
            (Lines{"x.toml:4:10: service.listen: 257 items (1–256)"}));
}

// What must hold between addresses

/// Two items in lines 1 and 2 of a `listen` array that begins in line 4.
Lines overlap_errors(const std::string& first, const std::string& second) {
  return listen_errors("[\n\"" + first + "\",\n\"" + second + "\"]");
}

TEST(Config, RefusesAddressesThatOverlapInAService) {
  const auto expected = [](const std::string& first, const std::string& second) {
    return Lines{
        fmt::format("x.toml:6:1: service.listen: \"{}\": overlaps \"{}\" in line 5; an "
                    "address and port are listed once",
                    second, first)};
  };
  const std::vector<std::pair<std::string, std::string>> table = {
      {"127.0.0.1:5", "127.0.0.1:5"},
      {"0.0.0.0:5", "127.0.0.1:5"},
      {"127.0.0.1:5", "0.0.0.0:5"},
      {"[::]:5", "[::1]:5"},
      {"[::1]:5", "[::]:5"},
      {"[::1]:5", "[0:0::1]:5"},
      {"127.0.0.1:5-9", "127.0.0.1:9-12"},
      {"127.0.0.1:1-9", "127.0.0.1:5"},
      {"127.0.0.1:5", "0.0.0.0:1-65535"},
      {"*:5", "127.0.0.1:5"},
      {"*:5", "[::1]:5"},
      {"*:5", "*:5"},
      {"[::1]:5", "*:1-9"},
      {"127.0.0.1:65535", "127.0.0.1:65535"}};
  for (const auto& [first, second] : table)
    EXPECT_EQ(overlap_errors(first, second), expected(first, second));
}

TEST(Config, TakesAddressesThatDoNotOverlap) {
  const std::vector<std::pair<std::string, std::string>> table = {{"0.0.0.0:5", "[::]:5"},
                                                                  {"0.0.0.0:5", "[::1]:5"},
                                                                  {"127.0.0.1:5", "127.0.0.2:5"},
                                                                  {"127.0.0.1:1-4", "0.0.0.0:5-9"},
                                                                  {"[::1]:5", "[::2]:5"},
                                                                  {"systemd:a", "systemd:b"},
                                                                  {"*:5", "*:6"}};
  for (const auto& [first, second] : table)
    EXPECT_EQ(overlap_errors(first, second), Lines{}) << first << " and " << second;
}

TEST(Config, NamesTheFirstOfEachOverlap) {
  EXPECT_EQ(listen_errors("[\n\"127.0.0.1:5\",\n\"127.0.0.1:5\",\n\"0.0.0.0:5\"]"),
            (Lines{"x.toml:6:1: service.listen: \"127.0.0.1:5\": overlaps \"127.0.0.1:5\" in line "
                   "5; an address and port are listed once",
                   "x.toml:7:1: service.listen: \"0.0.0.0:5\": overlaps \"127.0.0.1:5\" in line 5; "
                   "an address and port are listed once"}));
}

TEST(Config, RefusesAPortOfTwoServices) {
  const auto two = [](const std::string& first, const std::string& second) {
    return errors_of(
        fmt::format("[[service]]\nname = \"a\"\nprotocol = \"stream\"\nlisten = [\"{}\"]\n"
                    "[[service]]\nname = \"b\"\nprotocol = \"stream\"\nlisten = [\"{}\"]\n",
                    first, second));
  };
  EXPECT_EQ(two("127.0.0.1:5000-5002", "127.0.0.2:5002-5004"),
            (Lines{"x.toml:8:11: service.listen: \"127.0.0.2:5002-5004\": port 5002 is taken by "
                   "another service with \"127.0.0.1:5000-5002\" in line 4; a port belongs to one "
                   "service"}));
  EXPECT_EQ(two("127.0.0.1:5000", "[::1]:5000").size(), 1U) << "whatever the family";
  EXPECT_EQ(two("127.0.0.1:5000", "*:5000").size(), 1U);
  EXPECT_EQ(two("127.0.0.1:5000", "127.0.0.1:5001"), Lines{});
  EXPECT_EQ(two("systemd:web", "systemd:web"),
            (Lines{"x.toml:8:11: service.listen: \"systemd:web\": stands already in line 4; a name "
                   "belongs to one service and is listed once"}));
}

TEST(Config, RefusesAnInheritedNameListedTwice) {
  EXPECT_EQ(overlap_errors("systemd:web", "systemd:web"),
            (Lines{"x.toml:6:1: service.listen: \"systemd:web\": stands already in line 5; a name "
                   "belongs to one service and is listed once"}));
}

// What is wrong with one key

TEST(Config, NamesTheKnownKeyNearAnUnknownOne) {
  EXPECT_EQ(service_errors("ouput = \"x\""),
            (Lines{"x.toml:5:1: service.ouput: unknown key; did you mean \"output\"?"}));
  EXPECT_EQ(table_errors("daemon", "  loglevel = \"info\""),
            (Lines{"x.toml:6:3: daemon.loglevel: unknown key; did you mean \"log_level\"?"}));
  EXPECT_EQ(table_errors("restarts", "rate = 1"),
            (Lines{"x.toml:5:2: restarts: unknown table; did you mean \"restart\"?"}));
}

TEST(Config, ListsTheKnownKeysWhereNoneIsNear) {
  EXPECT_EQ(service_errors("colour = 1"),
            (Lines{"x.toml:5:1: service.colour: unknown key; known are files, idle_timeout, "
                   "listen, max_connections, name, output, protocol"}));
  EXPECT_EQ(errors_of(std::string("port = 1\n") + kService),
            (Lines{"x.toml:1:1: port: unknown key; known are daemon, restart, service"}));
}

TEST(Config, WritesUnknownKeysAsTomlDoes) {
  const Lines lines = service_errors("\"a b\" = 1");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_TRUE(lines[0].starts_with("x.toml:5:1: service.\"a b\": unknown key")) << lines[0];
}

TEST(Config, RefusesTheWrongKindOfValue) {
  EXPECT_EQ(table_errors("daemon", "name = 5"),
            (Lines{"x.toml:6:8: daemon.name: 5 is an integer; write a string"}));
  EXPECT_EQ(table_errors("daemon", "log_level = true"),
            (Lines{"x.toml:6:13: daemon.log_level: true is a boolean; write a string, one of "
                   "debug, info, warning, error"}));
  EXPECT_EQ(table_errors("daemon", "stop_timeout = 5"),
            (Lines{"x.toml:6:16: daemon.stop_timeout: 5 is an integer; write a string with a unit, "
                   "as in \"5s\""}));
  EXPECT_EQ(table_errors("restart", "rate = \"20\""),
            (Lines{"x.toml:6:8: restart.rate: \"20\" is a string; write an integer (1–1000)"}));
  EXPECT_EQ(table_errors("restart", "rate = 1.5"),
            (Lines{"x.toml:6:8: restart.rate: 1.5 is a float; write an integer (1–1000)"}));
  EXPECT_EQ(service_errors("output = 2026-11-20"),
            (Lines{"x.toml:5:10: service.output: this is a date or time; write a string"}));
  EXPECT_EQ(service_errors("output = []"),
            (Lines{"x.toml:5:10: service.output: this is an array; write a string"}));
  EXPECT_EQ(service_errors("output = {}"),
            (Lines{"x.toml:5:10: service.output: this is a table; write a string"}));
}

TEST(Config, RefusesWhatIsNoTable) {
  EXPECT_EQ(errors_of(std::string("daemon = 1\nrestart = []\n") + kService),
            (Lines{"x.toml:1:10: daemon: 1 is an integer; write a table, [daemon]",
                   "x.toml:2:11: restart: this is an array; write a table, [restart]"}));
  EXPECT_EQ(errors_of("[service]\nname = \"a\"\n"),
            (Lines{"x.toml:1:1: service: this is a table; write tables with two brackets, "
                   "[[service]]"}));
  EXPECT_EQ(errors_of("service = [1]\n"),
            (Lines{"x.toml:1:12: service: 1 is an integer; write tables with two brackets, "
                   "[[service]]"}));
}

TEST(Config, RefusesWordsItDoesNotKnow) {
  EXPECT_EQ(table_errors("daemon", "log_level = \"warn\""),
            (Lines{"x.toml:6:13: daemon.log_level: \"warn\" is not one of debug, info, warning, "
                   "error; did you mean \"warning\"?"}));
  EXPECT_EQ(table_errors("daemon", "log_target = \"file\""),
            (Lines{"x.toml:6:14: daemon.log_target: \"file\" is not one of auto, journal, "
                   "stderr"}));
  EXPECT_EQ(table_errors("daemon", "on_bind_failure = \"ignore\""),
            (Lines{"x.toml:6:19: daemon.on_bind_failure: \"ignore\" is not one of fail, skip"}));
  EXPECT_EQ(service_errors("files = \"per-prot\""),
            (Lines{"x.toml:5:9: service.files: \"per-prot\" is not one of per-port, "
                   "per-connection; did you mean \"per-port\"?"}));
}

TEST(Config, RefusesNumbersOutOfRange) {
  EXPECT_EQ(table_errors("restart", "rate = 0"),
            (Lines{"x.toml:6:8: restart.rate: 0 is out of range (1–1000)"}));
  EXPECT_EQ(table_errors("restart", "rate = 1001").size(), 1U);
  EXPECT_EQ(table_errors("restart", "rate = -9223372036854775808").size(), 1U);
  EXPECT_EQ(table_errors("restart", "quarantine_after = 4294967297"),
            (Lines{"x.toml:6:20: restart.quarantine_after: 4294967297 is out of range (1–1000)"}));
  EXPECT_EQ(table_errors("restart", "blame_after = 0").size(), 1U);
  EXPECT_EQ(service_errors("max_connections = 1000001"),
            (Lines{"x.toml:5:19: service.max_connections: 1000001 is out of range (1–1000000)"}));
}

TEST(Config, RefusesDurationsOutOfRange) {
  const auto expected = [](const std::string& table, const std::string& key,
                           const std::string& value, const std::string& limits) {
    EXPECT_EQ(table_errors(table, key + " = \"" + value + "\""),
              (Lines{fmt::format("x.toml:6:{}: {}.{}: \"{}\" is out of range ({})", key.size() + 4,
                                 table, key, value, limits)}));
  };
  expected("daemon", "stop_timeout", "61min", "0s–1h");
  expected("daemon", "drain_timeout", "25h", "0s–1d");
  expected("restart", "initial", "0ms", "1ms–1h");
  expected("restart", "maximum", "0s", "1ms–1d");
  expected("restart", "quarantine_window", "999ms", "1s–1d");
  expected("restart", "probe_interval", "99ms", "100ms–1d");
  expected("restart", "healthy_after", "1.1d", "100ms–1d");
  expected("restart", "start_timeout", "2h", "100ms–1h");
  EXPECT_EQ(service_errors("idle_timeout = \"31d\""),
            (Lines{"x.toml:5:16: service.idle_timeout: \"31d\" is out of range (0s–30d)"}));
}

TEST(Config, RefusesAWatchdogThatIsNeitherNoneNorLongEnough) {
  EXPECT_EQ(table_errors("restart", "watchdog = \"99ms\"").size(), 1U);
  EXPECT_EQ(table_errors("restart", "watchdog = \"61min\"").size(), 1U);
  EXPECT_EQ(table_errors("restart", "watchdog = \"100ms\""), Lines{});
}

TEST(Config, SaysTheRangeWithABadDuration) {
  EXPECT_EQ(table_errors("daemon", "stop_timeout = \"-5s\""),
            (Lines{"x.toml:6:16: daemon.stop_timeout: \"-5s\": a duration cannot be negative "
                   "(0s–1h)"}));
}

TEST(Config, RefusesAMaximumShorterThanInitial) {
  EXPECT_EQ(table_errors("restart", "initial = \"2s\"\nmaximum = \"1s\""),
            (Lines{"x.toml:7:11: restart.maximum: maximum 1s is shorter than initial 2s; write one "
                   "that is not"}));
  EXPECT_EQ(table_errors("restart", "initial = \"31s\""),
            (Lines{"x.toml:6:11: restart.initial: maximum 30s is shorter than initial 31s; write "
                   "one that is not"}));
  EXPECT_EQ(table_errors("restart", "initial = \"1s\"\nmaximum = \"1s\""), Lines{});
}

TEST(Config, RefusesBadNames) {
  const std::string rule =
      ": a name has 1–64 of the characters A–Z, a–z, 0–9, '_', '.', '-' and does not begin with a "
      "dot";
  for (const std::string name : {"", "a b", "a/b", "..", ".hidden", "ä", "a\\u0000"}) {
    const Lines lines = table_errors("daemon", "name = \"" + name + "\"");
    ASSERT_EQ(lines.size(), 1U) << name;
    EXPECT_TRUE(lines[0].starts_with("x.toml:6:8: daemon.name: \"")) << lines[0];
    EXPECT_TRUE(lines[0].ends_with(rule)) << lines[0];
  }
  EXPECT_EQ(table_errors("daemon", "name = \"" + std::string(64, 'n') + "\""), Lines{});
  EXPECT_EQ(table_errors("daemon", "name = \"" + std::string(65, 'n') + "\"").size(), 1U);
}

TEST(Config, RefusesABadUser) {
  EXPECT_EQ(table_errors("daemon", "user = \"a b\""),
            (Lines{"x.toml:6:8: daemon.user: \"a b\": not a user's name; \"\" keeps root"}));
}

TEST(Config, RefusesABadOutput) {
  EXPECT_EQ(service_errors("output = \"\""),
            (Lines{"x.toml:5:10: service.output: \"\": the directory must be named; \".\" is the "
                   "current one"}));
  EXPECT_EQ(service_errors("output = \"a\\u0000b\""),
            (Lines{"x.toml:5:10: service.output: \"a\\x00b\": a path cannot contain a NUL "
                   "character"}));
  const Lines lines = service_errors("output = \"" + std::string(5000, 'x') + "\"");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_LT(lines[0].size(), 200U) << "long values are cut";
}

TEST(Config, RequiresTheKeysOfAService) {
  EXPECT_EQ(errors_of("# nothing\n\n[[service]]\n"),
            (Lines{"x.toml:3:1: service.name: missing; write name = \"NAME\"",
                   "x.toml:3:1: service.listen: missing; write listen = [\"127.0.0.1:5000\"]",
                   "x.toml:3:1: service.protocol: missing; write protocol = \"stream\""}));
}

TEST(Config, RequiresAService) {
  EXPECT_EQ(errors_of("[daemon]\n"),
            (Lines{"x.toml:1:1: service: missing; write at least one [[service]]"}));
  EXPECT_EQ(errors_of("").size(), 1U);
  EXPECT_EQ(errors_of("service = []\n"),
            (Lines{"x.toml:1:11: service: empty; write at least one"}));
}

TEST(Config, RefusesTwoServicesOfOneName) {
  EXPECT_EQ(errors_of(std::string(kService) +
                      "[[service]]\nname = \"a\"\nprotocol = \"stream\"\nlisten = [\"[::1]:1\"]\n"),
            (Lines{"x.toml:6:8: service.name: \"a\" is the name of the service in line 2 already; "
                   "names are unique"}));
}

TEST(Config, RefusesAnUnknownProtocolAndStillJudgesTheRest) {
  EXPECT_EQ(errors_of("[[service]]\nname = \"a\"\nprotocol = \"strem\"\noutput = \"x\"\nfiels = 1\n"
                      "listen = [\"127.0.0.1:0\"]\n"),
            (Lines{"x.toml:3:12: service.protocol: \"strem\" is not one of stream, accio, "
                   "monitor, chat, packets; did you mean \"stream\"?",
                   "x.toml:5:1: service.fiels: unknown key; did you mean \"files\"?",
                   "x.toml:6:11: service.listen: \"127.0.0.1:0\": 0 is not a port (1–65535)"}));
}

TEST(Config, ReadsChatAndGivesItToTheWorkerUnchanged) {
  const std::string text =
      "[[service]]\nname = \"c\"\nprotocol = \"chat\"\nlisten = [\"*:4000\"]\n"
      "server_id = \"A5_7\"\npeers = [\"127.0.0.1:4001\", \"[::1]:4002\"]\nmax_peers = 5\n"
      "min_peers = 2\nmessage_ttl = \"2h\"\nmax_messages = 10\nmax_messages_per_recipient = 3\n"
      "overload_threshold = 0.25\nopen_mailboxes = false\noutput = \"o\"\n"
      "database = \":memory:\"\n";
  const auto parsed = parse_config(text, "x.toml", ConfigUse::kDaemon);
  ASSERT_TRUE(std::holds_alternative<Config>(parsed));
  const Config& config = std::get<Config>(parsed);
  ChatConfig chat;
  chat.output = "o";
  chat.database = ":memory:";
  chat.server_id = "A5_7";
  chat.peers = {"127.0.0.1:4001", "[::1]:4002"};
  chat.max_peers = 5;
  chat.min_peers = 2;
  chat.message_ttl = std::chrono::hours(2);
  chat.max_messages = 10;
  chat.max_messages_per_recipient = 3;
  chat.overload_threshold = 0.25;
  chat.open_mailboxes = false;
  EXPECT_TRUE(config.services[0].protocol == ProtocolConfig(chat));
  EXPECT_EQ(config.services[0].idle_timeout, std::chrono::minutes(5));
  ServiceConfig expected = config.services[0];
  expected.listen.clear();
  const auto worker =
      parse_config(worker_config_text(config, config.services[0]), "worker", ConfigUse::kWorker);
  ASSERT_TRUE(std::holds_alternative<Config>(worker));
  EXPECT_TRUE(std::get<Config>(worker).services[0] == expected);
}

TEST(Config, RefusesAChatServiceThatCannotBe) {
  const std::string service =
      "[[service]]\nname = \"c\"\nprotocol = \"chat\"\nlisten = [\"127.0.0.1:4000\"]\n";
  EXPECT_EQ(errors_of(service + "server_id = \"12\"\npeers = [\"example.org:1\", \"*:1\"]\n"
                                "overload_threshold = 2\nopen_mailboxes = 1\n"
                                "database = \"../x\"\n")
                .size(),
            6U);
  EXPECT_EQ(errors_of("[[service]]\nname = \"c\"\nprotocol = \"chat\"\n"
                      "listen = [\"127.0.0.1:4000-4001\"]\n"),
            (Lines{"x.toml:1:1: service.listen: a chat server has one port; write a [[service]] "
                   "for each"}));
}

TEST(Config, ReadsPacketsAndGivesThemToTheWorkerUnchanged) {
  const std::string text =
      "[[service]]\nname = \"p\"\nprotocol = \"packets\"\nlisten = [\"127.0.0.1:8080-8081\"]\n"
      "cors_origins = [\"https://example.org:8443\", \"*\"]\nmax_captures = 3\nring_kib = 512\n"
      "queue_kib = 256\nsnap_length = 128\nrequest_timeout = \"2s\"\n";
  const auto parsed = parse_config(text, "x.toml", ConfigUse::kDaemon);
  ASSERT_TRUE(std::holds_alternative<Config>(parsed));
  const Config& config = std::get<Config>(parsed);
  PacketsConfig packets;
  packets.cors_origins = {"https://example.org:8443", "*"};
  packets.max_captures = 3;
  packets.ring_kib = 512;
  packets.queue_kib = 256;
  packets.snap_length = 128;
  packets.request_timeout = std::chrono::seconds(2);
  EXPECT_TRUE(config.services[0].protocol == ProtocolConfig(packets));
  EXPECT_EQ(config.services[0].idle_timeout, std::chrono::minutes(1));
  ServiceConfig expected = config.services[0];
  expected.listen.clear();
  const auto worker =
      parse_config(worker_config_text(config, config.services[0]), "worker", ConfigUse::kWorker);
  ASSERT_TRUE(std::holds_alternative<Config>(worker));
  EXPECT_TRUE(std::get<Config>(worker).services[0] == expected);
}

TEST(Config, RefusesWhatIsNoOriginOfAWebPage) {
  const std::string service =
      "[[service]]\nname = \"p\"\nprotocol = \"packets\"\nlisten = [\"127.0.0.1:4000\"]\n";
  for (const std::string bad : {"", "example.org", "https://", "https://a/", "https://a b", "://a",
                                "https://a,https://b", "https://me@a"})
    EXPECT_EQ(errors_of(service + "cors_origins = [\"" + bad + "\"]\n").size(), 1U) << bad;
  EXPECT_EQ(errors_of(service + "cors_origins = [\"x\"]\nring_kib = 5\n"),
            (Lines{"x.toml:5:17: service.cors_origins: \"x\": not the origin of a page, as in "
                   "\"https://example.org:8443\"; \"*\" is any",
                   "x.toml:6:12: service.ring_kib: 5 is out of range (512–1048576)"}));
}

// The file as a whole

TEST(Config, ReportsEveryErrorInOneRunByPlace) {
  const std::string text = R"([[service]]
name = "a"
protocol = "stream"
listen = ["localhost:1", "127.0.0.1:0"]
idle_timeout = "soon"
[daemon]
name = ""
usr = "x"
[[service]]
name = "a"
[extra]
)";
  Lines places;
  for (const std::string& line : errors_of(text))
    places.push_back(line.substr(0, line.find(": ", line.find(": ") + 1)));
  EXPECT_EQ(places, (Lines{"x.toml:4:11: service.listen", "x.toml:4:26: service.listen",
                           "x.toml:5:16: service.idle_timeout", "x.toml:7:8: daemon.name",
                           "x.toml:8:1: daemon.usr", "x.toml:9:1: service.listen",
                           "x.toml:9:1: service.protocol", "x.toml:10:8: service.name",
                           "x.toml:11:2: extra"}));
}

TEST(Config, ReportsOneErrorOfATextThatIsNotToml) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"[[service]]\nname = \n", "x.toml:2:8: not TOML: "},
      {"a = 1\na = 2\n", "x.toml:2:5: not TOML: "},
      {"[daemon\n", "x.toml:1:8: not TOML: "},
      {"a = 99999999999999999999\n", "x.toml:1:25: not TOML: "},
      {"  [\n", "x.toml:1:3: not TOML: a table header is written [NAME] or [[NAME]]"},
      {"a = 1\n[[[a]]]\n", "x.toml:2:1: not TOML: a table header is written [NAME] or [[NAME]]"},
      {"a = [1, }\n", "x.toml:1:9: not TOML: '}' where ']' is due"},
      {"a = {b = 1]\n", "x.toml:1:11: not TOML: ']' where '}' is due"},
      {"a = 1\"b\"\n", "x.toml:1:6: not TOML: a quotation mark where no string can begin"},
      {"a = [1.'b']\n", "x.toml:1:8: not TOML: a quotation mark where no string can begin"},
      {"a = 1[\"b\"]\n", "x.toml:1:6: not TOML: a bracket where no value can begin"},
      {"a = 1=\"b\"\n", "x.toml:1:6: not TOML: '=' within a value"},
      {"[]\n", "x.toml:1:1: not TOML: a table header is written [NAME] or [[NAME]]"},
      {"\xEF\xBB\xBF[\n", "x.toml:1:1: not TOML: a table header is written [NAME] or [[NAME]]"}};
  for (const auto& [text, beginning] : table) {
    const Lines lines = errors_of(text);
    ASSERT_EQ(lines.size(), 1U) << text;
    EXPECT_TRUE(lines[0].starts_with(beginning)) << lines[0];
  }
}

TEST(Config, SurvivesBytesThatAreNoText) {
  using namespace std::string_literals;
  for (const std::string& text : {"a = \"\xff\xfe\"\n"s, "\0"s, "a = 'x\0y'\n"s, "# \0\n"s,
                                  "\xff\xfe=\0=\0"s, "a = \"\x1b[31m\"\n"s, "\xc3"s}) {
    const Lines lines = errors_of(text);
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_TRUE(lines[0].starts_with("x.toml:1:")) << lines[0];
  }
}

TEST(Config, WantsQuotationMarksAroundOtherThanAscii) {
  for (const std::string text : {"ü = 1\n", "a = ü\n", "a = [ü]\n", "a\u00a0= 1\n"}) {
    const Lines lines = errors_of(text);
    ASSERT_EQ(lines.size(), 1U) << text;
    const std::string rule = "a character outside ASCII stands in quotation marks only";
    EXPECT_TRUE(lines[0].ends_with(rule)) << lines[0];
  }
  EXPECT_EQ(service_errors("output = \"\"\"\\\n  é\"\"\""),
            (Lines{"x.toml:5:13: not TOML: after \\ at the end of a line a character outside ASCII "
                   "is written \\uXXXX"}));
  EXPECT_EQ(service_errors("output = \"\"\"\\\n  e é\"\"\" # é"), Lines{});
}

TEST(Config, SurvivesDeepNesting) {
  std::string key = "a";
  for (int i = 0; i < 200'000; ++i) key += ".a";
  EXPECT_EQ(errors_of("b = 1\n" + key + " = 1\n"),
            (Lines{"x.toml:2:32: not TOML: a key of more than 16 parts"}));
  EXPECT_EQ(errors_of("[" + key + "]\n"),
            (Lines{"x.toml:1:33: not TOML: a key of more than 16 parts"}));
  EXPECT_EQ(errors_of("a = " + std::string(200'000, '[')),
            (Lines{"x.toml:1:21: not TOML: values nested more than 16 deep"}));
}

TEST(Config, CountsNoDotsAndBracketsInStringsAndComments) {
  const std::string dots(100, '.');
  const std::string brackets(100, '[');
  for (const std::string quote : {"\"", "'", "\"\"\"", "'''"}) {
    const std::string text =
        fmt::format("# \"{0}{1}\noutput = {2}{0}{1}{2}", dots, brackets, quote);
    EXPECT_EQ(service_errors(text), Lines{});
  }
  EXPECT_EQ(service_errors(R"(output = "\"......................................")"), Lines{});
  EXPECT_EQ(service_errors("output = \"\"\"a\"\"\"\"\" # " + dots), Lines{});
}

TEST(Config, ShowsNothingRawOnATerminal) {
  const auto parsed = parse_config("\"\\u001b[31m\\u009b\\u202e\" = 1\n" + std::string(kService),
                                   "x\n\xff.toml", ConfigUse::kDaemon);
  ASSERT_TRUE(std::holds_alternative<ConfigErrors>(parsed));
  EXPECT_EQ(std::get<ConfigErrors>(parsed).lines,
            (Lines{"x\\x0a\\xff.toml:1:1: \"\\x1b[31m\\u009b\\u202e\": unknown key; known are "
                   "daemon, restart, service"}));
}

TEST(Config, RefusesATextLargerThanOneMebibyte) {
  std::string text = kService;
  text.resize(1 << 20, '\n');
  EXPECT_EQ(errors_of(text), Lines{});
  EXPECT_EQ(errors_of(text + "\n"),
            (Lines{"x.toml: larger than 1 MiB, which is no configuration"}));
}

TEST(Config, ReadsAFile) {
  const test::TempDir dir;
  test::write_file(dir / "x.toml", kService);
  const auto read = read_config(dir / "x.toml", ConfigUse::kDaemon);
  ASSERT_TRUE(std::holds_alternative<Config>(read));
  EXPECT_EQ(std::get<Config>(read), parse(kService));
}

TEST(Config, NamesTheFileThatCannotBeRead) {
  const auto lines = [](const std::string& file) {
    const auto read = read_config(file, ConfigUse::kDaemon);
    const auto* errors = std::get_if<ConfigErrors>(&read);
    return errors == nullptr ? Lines{} : errors->lines;
  };
  const test::TempDir dir;
  const std::string missing = dir / "missing";
  const std::string large = dir / "large";
  test::write_file(large, std::string((1 << 20) + 1, '\n'));
  EXPECT_EQ(lines(missing), (Lines{missing + ": No such file or directory"}));
  EXPECT_EQ(lines(dir.path()), (Lines{dir.path() + ": not a regular file"}));
  EXPECT_EQ(lines(""), (Lines{": No such file or directory"}));
  EXPECT_EQ(lines(large), (Lines{large + ": larger than 1 MiB, which is no configuration"}));
}

// What workers are given

ServiceConfig nasty_service() {
  ServiceConfig service;
  service.name = "n";
  service.max_connections = 7;
  service.idle_timeout = 86'400'001ms;
  service.protocol =
      StreamConfig{"a\"b\\c\n\r\t\x01\x7f'''\"\"\" # [x] \\u0041 é \u2028 \U0001F600", true};
  return service;
}

TEST(WorkerConfigText, ComesBackUnchanged) {
  Config config;
  config.daemon.log_level = log::Level::kError;
  config.daemon.log_target = log::Target::kJournal;
  config.daemon.sandbox = SandboxMode::kOff;
  ServiceConfig accio = nasty_service();
  accio.protocol = AccioConfig{"a \"b\"", AccioHandshake::kRequired, true};
  for (const ServiceConfig& service :
       {nasty_service(), parse_service(""), accio, service_of("accio"), service_of("monitor"),
        service_of("accio", "handshake = \"none\"\nidle_timeout = \"0s\"")}) {
    const Config again = parse(worker_config_text(config, service), ConfigUse::kWorker);
    ServiceConfig expected = service;
    expected.listen.clear();
    EXPECT_EQ(again.services, std::vector{expected});
    EXPECT_EQ(again.daemon.log_level, log::Level::kError);
    EXPECT_EQ(again.daemon.log_target, log::Target::kJournal);
    EXPECT_EQ(again.daemon.sandbox, SandboxMode::kOff);
  }
}

TEST(WorkerConfigText, IsEqualForEqualSettings) {
  Config config;
  Config other = config;
  other.daemon.name = "x";
  other.daemon.stop_timeout = 1s;
  other.restart.rate = 1;
  ServiceConfig elsewhere = nasty_service();
  elsewhere.listen = {range("127.0.0.1", 1, 2)};
  EXPECT_EQ(worker_config_text(config, nasty_service()), worker_config_text(other, elsewhere))
      << "a worker's settings are not where it listens nor how it is restarted";
}

TEST(WorkerConfigText, DiffersForEverySettingOfAWorker) {
  const std::string text = worker_config_text({}, nasty_service());
  const auto changed = [&](auto change) {
    Config config;
    ServiceConfig service = nasty_service();
    change(config.daemon, service, std::get<StreamConfig>(service.protocol));
    return worker_config_text(config, service) != text;
  };
  EXPECT_TRUE(changed([](auto& daemon, auto&, auto&) { daemon.log_level = log::Level::kDebug; }));
  EXPECT_TRUE(
      changed([](auto& daemon, auto&, auto&) { daemon.log_target = log::Target::kStderr; }));
  EXPECT_TRUE(changed([](auto&, auto& service, auto&) { service.name = "m"; }));
  EXPECT_TRUE(changed([](auto&, auto& service, auto&) { service.max_connections = 8; }));
  EXPECT_TRUE(changed([](auto&, auto& service, auto&) { service.idle_timeout = 1ms; }));
  EXPECT_TRUE(changed([](auto&, auto&, auto& stream) { stream.output = "o"; }));
  EXPECT_TRUE(changed([](auto&, auto&, auto& stream) { stream.file_per_connection = false; }));
  EXPECT_FALSE(changed([](auto&, auto&, auto&) {}));
}

TEST(WorkerConfigText, DiffersForEverySettingOfAnAccioWorker) {
  const auto text = [](const AccioConfig& accio) {
    ServiceConfig service = nasty_service();
    service.protocol = accio;
    return worker_config_text({}, service);
  };
  const AccioConfig accio{"o", AccioHandshake::kAuto, false};
  EXPECT_EQ(text(accio), text(accio));
  EXPECT_NE(text(accio), text({"p", AccioHandshake::kAuto, false}));
  EXPECT_NE(text(accio), text({"o", AccioHandshake::kNone, false}));
  EXPECT_NE(text(accio), text({"o", AccioHandshake::kAuto, true}));
}

TEST(WorkerConfig, NeedsNoListen) {
  EXPECT_EQ(parse("[[service]]\nname = \"a\"\nprotocol = \"stream\"\n", ConfigUse::kWorker)
                .services.size(),
            1U);
  EXPECT_EQ(parse(kService, ConfigUse::kWorker).services.at(0).listen.size(), 1U);
}

TEST(WorkerConfig, HasOneService) {
  EXPECT_EQ(errors_of(std::string(kService) + "[[service]]\nname = \"b\"\nprotocol = \"stream\"\n",
                      ConfigUse::kWorker),
            (Lines{"x.toml:5:1: service: a worker has one service; this is a second"}));
  EXPECT_EQ(errors_of("", ConfigUse::kWorker).size(), 1U);
}

}  // namespace
}  // namespace serverd
