#include "worker/stream/stream_service.h"

#include "tests/support/service_rig.h"
#include "worker/services.h"

#include <gtest/gtest.h>

#include <ctime>
#include <regex>
#include <string>
#include <vector>

namespace serverd {
namespace {

using test::ServiceRig;
using Names = std::vector<std::string>;

bool matches(const std::string& name, const std::string& pattern) {
  return std::regex_match(name, std::regex(pattern));
}

/// "20261120_212005", as the service writes `time`.
std::string time_text(std::time_t time) {
  std::tm local{};
  ::localtime_r(&time, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d_%H%M%S", &local);
  return text;
}

/// Takes the names that files made from now on would get, with `suffix` before ".bin".
void occupy(const ServiceRig& rig, const std::string& suffix) {
  const std::time_t now = std::time(nullptr);
  for (int second = 0; second < 60; ++second)
    test::write_file(rig.dir / ("stream_5000_" + time_text(now + second) + suffix + ".bin"), "old");
}

std::string recorded(const ledger::FileRecord& record) { return std::string(record.file_name()); }

/// Stores `text` as Intake does.
void put(Session& session, const std::string& text) {
  Sink& sink = *session.sink();
  ASSERT_FALSE(sink.open());
  const auto appended = sink.append(std::as_bytes(std::span(text.data(), text.size())));
  sink.commit(sink.committed() + appended.bytes);
}

TEST(StreamService, TheFirstConnectionCreatesTheFileEvenIfItSendsNothing) {
  ServiceRig rig;
  EXPECT_EQ(rig.dir.names(), Names{}) << "not before";
  const auto session = rig.service->open(rig.ledger.slots()[0]);
  ASSERT_EQ(rig.dir.names().size(), 1U);
  EXPECT_TRUE(matches(rig.dir.names().front(), "stream_5000_[0-9]{8}_[0-9]{6}\\.bin"))
      << rig.dir.names().front();
}

TEST(StreamService, TheNameHasThePortAndTheLocalTime) {
  ServiceRig rig;
  const std::time_t before = std::time(nullptr);
  const auto session = rig.service->open(rig.ledger.slots()[0]);
  const std::string name = recorded(rig.ledger.output());
  bool found = false;
  for (std::time_t time = before; time <= std::time(nullptr); ++time)
    found = found || name == "stream_5000_" + time_text(time) + ".bin";
  EXPECT_TRUE(found) << name;
}

TEST(StreamService, AllConnectionsShareTheFile) {
  ServiceRig rig;
  const auto first = rig.service->open(rig.ledger.slots()[0]);
  const auto second = rig.service->open(rig.ledger.slots()[1]);
  put(*first, "a");
  put(*second, "b");
  put(*first, "c");
  EXPECT_EQ(rig.only_file(), "abc");
}

TEST(StreamService, AConnectionThatComesAfterAllHaveLeftUsesTheSameFile) {
  ServiceRig rig;
  put(*rig.service->open(rig.ledger.slots()[0]), "a");
  put(*rig.service->open(rig.ledger.slots()[0]), "b");
  EXPECT_EQ(rig.only_file(), "ab");
}

TEST(StreamService, ASuccessorGoesOnWithTheFile) {
  ServiceRig rig;
  put(*rig.service->open(rig.ledger.slots()[0]), "a");
  rig.die();
  put(*rig.service->resume(rig.ledger.slots()[0]), "b");
  rig.die();
  put(*rig.service->open(rig.ledger.slots()[1]), "c");
  EXPECT_EQ(rig.only_file(), "abc");
}

TEST(StreamService, ANameThatIsTakenGetsASuffix) {
  ServiceRig rig;
  occupy(rig, "");
  occupy(rig, "-1");
  put(*rig.service->open(rig.ledger.slots()[0]), "new");
  const std::string name = recorded(rig.ledger.output());
  EXPECT_TRUE(matches(name, "stream_5000_[0-9]{8}_[0-9]{6}-2\\.bin")) << name;
  for (const std::string& other : rig.dir.names())
    EXPECT_EQ(test::file_content(rig.dir / other), other == name ? "new" : "old") << other;
}

TEST(StreamService, RotationStartsAnotherFileWithTheNextBytes) {
  ServiceRig rig;
  const auto session = rig.service->open(rig.ledger.slots()[0]);
  put(*session, "one");
  const std::string first = recorded(rig.ledger.output());
  rig.service->rotate();
  EXPECT_EQ(rig.dir.names(), Names{first}) << "not before";
  put(*session, "two");
  const std::string second = recorded(rig.ledger.output());
  EXPECT_NE(second, first);
  EXPECT_EQ(test::file_content(rig.dir / first), "one");
  EXPECT_EQ(test::file_content(rig.dir / second), "two");
}

TEST(StreamService, RotationOutlivesTheWorker) {
  ServiceRig rig;
  put(*rig.service->open(rig.ledger.slots()[0]), "one");
  rig.service->rotate();
  rig.die();
  put(*rig.service->resume(rig.ledger.slots()[0]), "two");
  EXPECT_EQ(rig.dir.names().size(), 2U);
}

TEST(StreamService, RotationTwiceMakesNoEmptyFile) {
  ServiceRig rig;
  put(*rig.service->open(rig.ledger.slots()[0]), "one");
  rig.service->rotate();
  rig.service->rotate();
  EXPECT_FALSE(rig.service->retry());
  EXPECT_EQ(rig.dir.names().size(), 1U);
}

TEST(StreamService, RetryOpensTheFileThatCouldNotBeCreated) {
  ServiceRig rig;
  rig.config.output = rig.dir / "later";
  rig.die();
  EXPECT_FALSE(rig.service->retry()) << "nobody needs a file yet";
  const auto session = rig.service->open(rig.ledger.slots()[0]);
  EXPECT_EQ(rig.service->retry().value(), ENOENT);
  std::filesystem::create_directory(rig.dir / "later");
  EXPECT_FALSE(rig.service->retry());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(rig.dir / "later"), {}), 1);
}

TEST(StreamServicePerConnection, EachConnectionHasAFileWithItsId) {
  ServiceRig rig(true);
  for (const std::uint64_t id : {7, 8}) {
    ledger::Slot& slot = rig.ledger.slots()[id - 7];
    slot.id = id;
    put(*rig.service->open(slot), std::to_string(id));
    const std::string name = recorded(slot.file);
    EXPECT_TRUE(matches(name, "stream_5000_[0-9]{8}_[0-9]{6}_" + std::to_string(id) + "\\.bin"))
        << name;
    EXPECT_EQ(test::file_content(rig.dir / name), std::to_string(id));
  }
  EXPECT_EQ(rig.dir.names().size(), 2U);
}

TEST(StreamServicePerConnection, TheLargestIdFitsIntoTheRecord) {
  ServiceRig rig(true);
  ledger::Slot& slot = rig.ledger.slots()[0];
  slot.id = ~std::uint64_t{0};
  occupy(rig, "_18446744073709551615");
  const auto session = rig.service->open(slot);
  EXPECT_TRUE(std::filesystem::exists(rig.dir / recorded(slot.file))) << recorded(slot.file);
  EXPECT_TRUE(matches(recorded(slot.file), ".*_18446744073709551615-1\\.bin"))
      << recorded(slot.file);
}

TEST(StreamServicePerConnection, ASuccessorGoesOnWithEachFile) {
  ServiceRig rig(true);
  ledger::Slot& slot = rig.ledger.slots()[0];
  slot.id = 1;
  put(*rig.service->open(slot), "a");
  rig.die();
  put(*rig.service->resume(slot), "b");
  EXPECT_EQ(rig.only_file(), "ab");
}

TEST(StreamServicePerConnection, RotationLeavesTheFilesAlone) {
  ServiceRig rig(true);
  const auto session = rig.service->open(rig.ledger.slots()[0]);
  put(*session, "a");
  rig.service->rotate();
  put(*session, "b");
  EXPECT_EQ(rig.only_file(), "ab");
}

TEST(Services, MakeTheServiceThatTheConfigurationNames) {
  ServiceRig rig;
  ServiceConfig config;
  config.protocol = rig.config;
  const auto service = make_service(config, 5000, rig.ledger);
  put(*service->open(rig.ledger.slots()[0]), "bytes");
  EXPECT_EQ(rig.only_file(), "bytes");
}

}  // namespace
}  // namespace serverd
