#include "common/notify.h"

#include "common/os/error.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace serverd {
namespace {

using namespace std::chrono_literals;

/// A manager's socket; `name` as in NOTIFY_SOCKET.
class Manager final {
 public:
  explicit Manager(const std::string& name)
      : fd_(UniqueFd::adopt(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() +
                                             (name[0] == '@' ? 0 : 1));
    check_call(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), size), "bind");
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }

  std::string heard() const {
    char text[4096];
    const ssize_t n = ::recv(fd_.get(), text, sizeof text, 0);
    return n < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(n));
  }

 private:
  UniqueFd fd_;
};

Notifier notifier_for(const std::string& variable) {
  ::setenv("NOTIFY_SOCKET", variable.c_str(), 1);
  return Notifier::from_environment();
}

TEST(Notifier, DeliversToAPath) {
  const test::TempDir dir;
  const Manager manager(dir / "notify");
  const Notifier notifier = Notifier::from_environment();
  EXPECT_TRUE(notifier.connected());
  EXPECT_TRUE(notifier.send("READY=1\nSTATUS=serving"));
  EXPECT_EQ(manager.heard(), "READY=1\nSTATUS=serving");
}

TEST(Notifier, DeliversToAnAbstractName) {
  const Manager manager("@stream-serverd-test-" + std::to_string(::getpid()));
  const Notifier notifier = Notifier::from_environment();
  EXPECT_TRUE(notifier.send("READY=1"));
  EXPECT_EQ(manager.heard(), "READY=1");
}

TEST(Notifier, TakesTheVariableAway) {
  const test::TempDir dir;
  const Manager manager(dir / "notify");
  static_cast<void>(Notifier::from_environment());
  EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr);
  EXPECT_FALSE(Notifier::from_environment().connected());
}

TEST(Notifier, WithoutAManagerDoesNothing) {
  ::unsetenv("NOTIFY_SOCKET");
  const Notifier notifier = Notifier::from_environment();
  EXPECT_FALSE(notifier.connected());
  EXPECT_FALSE(notifier.send("READY=1"));
}

TEST(Notifier, AManagerThatDoesNotReadNeverBlocksIt) {
  const test::TempDir dir;
  const Manager manager(dir / "notify");
  const Notifier notifier = Notifier::from_environment();
  int delivered = 0;
  while (notifier.send(std::string(2000, 'x')) && delivered < 1'000'000) ++delivered;
  EXPECT_GT(delivered, 0);
  EXPECT_FALSE(notifier.send("dropped"));
  while (manager.heard() != "nothing") continue;
  EXPECT_TRUE(notifier.send("heard again"));
}

TEST(Notifier, AManagerThatIsGoneIsHarmless) {
  const test::TempDir dir;
  std::optional<Manager> manager(dir / "notify");
  const Notifier notifier = Notifier::from_environment();
  manager.reset();
  EXPECT_FALSE(notifier.send("READY=1"));
}

TEST(Notifier, NonsenseIsHarmless) {
  const test::TempDir dir;
  const std::string too_long = "/" + std::string(200, 'x');
  for (const std::string& nonsense :
       {std::string(), std::string("/"), std::string("@"), std::string("relative"),
        std::string("vsock:2:1"), dir / "missing", dir.path(), too_long, "@" + too_long}) {
    const Notifier notifier = notifier_for(nonsense);
    EXPECT_FALSE(notifier.connected()) << nonsense;
    EXPECT_FALSE(notifier.send("READY=1")) << nonsense;
    EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr) << nonsense;
  }
}

TEST(Notifier, AnEmptyMessageIsDelivered) {
  const test::TempDir dir;
  const Manager manager(dir / "notify");
  EXPECT_TRUE(Notifier::from_environment().send(""));
  EXPECT_EQ(manager.heard(), "");
}

/// The interval with these values; null: unset.
std::chrono::microseconds watchdog(const char* interval, const char* pid = nullptr) {
  ::unsetenv("WATCHDOG_PID");
  if (interval != nullptr) ::setenv("WATCHDOG_USEC", interval, 1);
  if (pid != nullptr) ::setenv("WATCHDOG_PID", pid, 1);
  const auto taken = take_watchdog_interval();
  EXPECT_EQ(std::getenv("WATCHDOG_USEC"), nullptr);
  EXPECT_EQ(std::getenv("WATCHDOG_PID"), nullptr);
  return taken;
}

TEST(WatchdogInterval, IsForTheProcessThatIsNamed) {
  const std::string ours = std::to_string(::getpid());
  EXPECT_EQ(watchdog("2500000"), 2500ms) << "for whoever is started";
  EXPECT_EQ(watchdog("2500000", ours.c_str()), 2500ms);
  EXPECT_EQ(watchdog("2500000", "1"), 0us);
}

TEST(WatchdogInterval, NonsenseIsNone) {
  EXPECT_EQ(watchdog(nullptr), 0us);
  for (const char* nonsense : {"", "0", "-1", "abc", "1x", " 1", "99999999999999999999"})
    EXPECT_EQ(watchdog(nonsense), 0us) << nonsense;
  for (const char* nonsense : {"", "0", "abc"})
    EXPECT_EQ(watchdog("1000000", nonsense), 0us) << nonsense;
}

TEST(WatchdogInterval, IsNeverLongerThanADay) { EXPECT_EQ(watchdog("18446744073709551615"), 24h); }

}  // namespace
}  // namespace serverd
