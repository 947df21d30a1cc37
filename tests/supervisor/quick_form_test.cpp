#include "supervisor/quick_form.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace serverd {
namespace {

/// What the form says of wrong arguments; "accepted" if it takes them.
std::string refusal(const std::string& ip, unsigned base_port, unsigned port_count,
                    const std::string& output = "output") {
  try {
    stream_quick_form(ip, base_port, port_count, output);
    return "accepted";
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

TEST(StreamQuickForm, IsOneServiceWithConsecutivePorts) {
  const Config config = stream_quick_form("127.0.0.1", 5000, 3, "captured");
  ASSERT_EQ(config.services.size(), 1U);
  const ServiceConfig& service = config.services.front();
  EXPECT_EQ(service.name, "stream");
  ASSERT_EQ(service.listen.size(), 1U);
  EXPECT_EQ(service.listen.front(), (ListenRange{"127.0.0.1", 5000, 5002, ""}));
  EXPECT_EQ(std::get<StreamConfig>(service.protocol), (StreamConfig{"captured", false}));
}

TEST(StreamQuickForm, KeepsTheUserAndNamesTheInstanceAfterItsFirstPort) {
  const Config config = stream_quick_form("127.0.0.1", 5000, 3, "output");
  EXPECT_EQ(config.daemon.name, "stream-5000");
  EXPECT_EQ(config.daemon.user, "");
}

TEST(StreamQuickForm, TakesIpv6) {
  const Config config = stream_quick_form("::1", 1, 1, "output");
  EXPECT_EQ(config.services.front().listen.front(), (ListenRange{"::1", 1, 1, ""}));
}

TEST(StreamQuickForm, TakesTheLastPortThereIs) {
  EXPECT_EQ(refusal("0.0.0.0", 65535, 1), "accepted");
  EXPECT_EQ(refusal("0.0.0.0", 1, 65535), "accepted");
}

TEST(StreamQuickForm, NamesTheArgumentThatIsWrong) {
  EXPECT_EQ(refusal("localhost", 5000, 1),
            "'localhost' is not an IPv4 or IPv6 address (host names are not looked up)");
  EXPECT_EQ(refusal("", 5000, 1),
            "'' is not an IPv4 or IPv6 address (host names are not looked up)");
  EXPECT_EQ(refusal("127.0.0.1", 0, 1), "0 is not a port (1-65535)");
  EXPECT_EQ(refusal("127.0.0.1", 65536, 1), "65536 is not a port (1-65535)");
  EXPECT_EQ(refusal("127.0.0.1", 5000, 0), "0 ports from 5000 on are not possible (1-60536)");
  EXPECT_EQ(refusal("127.0.0.1", 65535, 2), "2 ports from 65535 on are not possible (1-1)");
  EXPECT_EQ(refusal("127.0.0.1", 5000, 4294967295U),
            "4294967295 ports from 5000 on are not possible (1-60536)");
  EXPECT_EQ(refusal("127.0.0.1", 5000, 1, ""), "the output directory must have a name");
}

/// What a form says of wrong arguments; "accepted" if it takes them.
template <typename Form>
std::string refusal_of(Form form) {
  try {
    form();
    return "accepted";
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

constexpr const char* kNoPorts[] = {"",     "x",     "80a",        " 80",
                                    "80 ",  "+80",   "-80",        "0",
                                    "00",   "65536", "4294967376", "99999999999999999999",
                                    "0x50", "8.0"};

TEST(AccioQuickForm, ListensEverywhereAndDoesAsItsSpecificationSays) {
  const Config config = accio_quick_form("5000", "a/b");
  ASSERT_EQ(config.services.size(), 1U);
  const ServiceConfig& service = config.services.front();
  EXPECT_EQ(config.daemon.name, "accio-5000");
  EXPECT_EQ(config.daemon.user, "");
  EXPECT_EQ(config.daemon.drain_timeout, Milliseconds(0)) << "SIGQUIT ends it too";
  EXPECT_EQ(config.daemon.log_level, log::Level::kInfo);
  ASSERT_EQ(service.listen.size(), 2U) << "this machine has IPv6";
  EXPECT_EQ(service.listen[0], (ListenRange{"0.0.0.0", 5000, 5000, ""}));
  EXPECT_EQ(service.listen[1], (ListenRange{"::", 5000, 5000, ""}));
  EXPECT_EQ(service.idle_timeout, Milliseconds(10'000));
  EXPECT_EQ(std::get<AccioConfig>(service.protocol),
            (AccioConfig{"a/b", AccioHandshake::kAuto, true}));
}

TEST(AccioQuickForm, NamesTheArgumentThatIsWrong) {
  for (const std::string port : kNoPorts)
    EXPECT_EQ(refusal_of([&] { accio_quick_form(port, "d"); }),
              "'" + port + "' is not a port (1-65535)");
  EXPECT_EQ(refusal_of([] { accio_quick_form("5000", ""); }),
            "the file directory must have a name");
  for (const char* port : {"1", "65535"})
    EXPECT_EQ(refusal_of([&] { accio_quick_form(port, "d"); }), "accepted");
}

TEST(AccioQuickForm, RefusesADirectoryThatNoConfigurationCouldName) {
  EXPECT_NE(refusal_of([] { accio_quick_form("5000", "a\xff"); }), "accepted");
  EXPECT_NE(refusal_of([] { accio_quick_form("5000", std::string(5000, 'x')); }), "accepted");
}

TEST(MonitorQuickForm, ShowsWhatArrivesAndLogsOnlyWhatIsWrong) {
  const Config config = monitor_quick_form("::1", "5000");
  ASSERT_EQ(config.services.size(), 1U);
  EXPECT_EQ(config.daemon.name, "monitor-5000");
  EXPECT_EQ(config.daemon.user, "");
  EXPECT_EQ(config.daemon.log_level, log::Level::kWarning);
  EXPECT_EQ(config.services.front().listen, (std::vector<ListenRange>{{"::1", 5000, 5000, ""}}));
  EXPECT_EQ(config.services.front().idle_timeout, Milliseconds(0));
  EXPECT_TRUE(std::holds_alternative<MonitorConfig>(config.services.front().protocol));
}

TEST(MonitorQuickForm, NamesTheArgumentThatIsWrong) {
  for (const std::string port : kNoPorts)
    EXPECT_EQ(refusal_of([&] { monitor_quick_form("0.0.0.0", port); }),
              "'" + port + "' is not a port (1-65535)");
  EXPECT_EQ(refusal_of([] { monitor_quick_form("localhost", "5000"); }),
            "'localhost' is not an IPv4 or IPv6 address (host names are not looked up)");
}

TEST(QuickForm, ChatKeepsItsFilesInTheWorkingDirectory) {
  const Config config = chat_quick_form("4043");
  const auto& chat = std::get<ChatConfig>(config.services.at(0).protocol);
  EXPECT_EQ(config.daemon.name, "chat-4043");
  EXPECT_EQ(chat.output, ".");
  EXPECT_EQ(chat.database, "chat_4043.db");
  EXPECT_EQ(config.services[0].idle_timeout, Milliseconds(300'000));
  EXPECT_THROW(chat_quick_form("70000"), std::invalid_argument);
}

TEST(QuickForm, PacketsIsForAnyPageOnAllInterfaces) {
  const Config config = packets_quick_form("8080");
  const ServiceConfig& service = config.services.at(0);
  EXPECT_EQ(config.daemon.name, "packets-8080");
  EXPECT_EQ(service.listen.at(0).host, "0.0.0.0");
  EXPECT_EQ(service.idle_timeout, std::chrono::minutes(1));
  EXPECT_EQ(std::get<PacketsConfig>(service.protocol).cors_origins, std::vector<std::string>{"*"});
  EXPECT_THROW(packets_quick_form("0"), std::invalid_argument);
}

}  // namespace
}  // namespace serverd
