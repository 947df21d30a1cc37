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

}  // namespace
}  // namespace serverd
