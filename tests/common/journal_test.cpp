#include "common/journal.h"

#include "tests/support/fake_journal.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <string>

namespace serverd {
namespace {

using test::FakeJournal;
using test::TempDir;

TEST(Journal, SendsFieldsInTheNativeProtocol) {
  const TempDir dir;
  FakeJournal fake(dir / "socket");
  const Journal journal(dir / "socket");
  const JournalField fields[] = {{"SERVICE", "capture"}, {"PORT", "5000"}};
  EXPECT_TRUE(journal.send(6, "New connection", fields));
  ASSERT_EQ(fake.entries().size(), 1U);
  EXPECT_EQ(fake.entries().front(),
            "MESSAGE=New connection\nPRIORITY=6\nSYSLOG_IDENTIFIER=common_tests\n"
            "SERVICE=capture\nPORT=5000\n");
}

TEST(Journal, NoValueCanBeginAnotherField) {
  const TempDir dir;
  FakeJournal fake(dir / "socket");
  const Journal journal(dir / "socket");
  const JournalField fields[] = {{"PEER", "x\nMESSAGE=y"}};
  EXPECT_TRUE(journal.send(3, "one\nPRIORITY=0", fields));
  EXPECT_EQ(fake.entries().at(0),
            "MESSAGE=one PRIORITY=0\nPRIORITY=3\nSYSLOG_IDENTIFIER=common_tests\n"
            "PEER=x MESSAGE=y\n");
}

TEST(Journal, CutsWhatIsTooLongForADatagram) {
  const TempDir dir;
  FakeJournal fake(dir / "socket");
  const Journal journal(dir / "socket");
  EXPECT_TRUE(journal.send(6, std::string(10'000'000, 'x')));
  const std::string& entry = fake.entries().at(0);
  EXPECT_TRUE(entry.starts_with("MESSAGE=xxx"));
  EXPECT_LT(entry.size(), 100'000U);
  EXPECT_NE(entry.find("\nPRIORITY=6\n"), std::string::npos);
}

TEST(Journal, DoesNotWaitForOneThatDoesNotRead) {
  const TempDir dir;
  FakeJournal fake(dir / "socket");
  const Journal journal(dir / "socket");
  int taken = 0;
  while (taken < 1'000'000 && journal.send(6, "again")) ++taken;
  EXPECT_GT(taken, 0);
  EXPECT_FALSE(journal.send(6, "and again"));
  EXPECT_EQ(fake.entries().size(), static_cast<std::size_t>(taken));
  EXPECT_TRUE(journal.send(6, "now that it has read"));
}

TEST(Journal, SurvivesOneThatIsNotThereAndFindsItWhenItComes) {
  const TempDir dir;
  const Journal journal(dir / "socket");
  EXPECT_FALSE(journal.send(6, "nobody"));
  FakeJournal fake(dir / "socket");
  EXPECT_TRUE(journal.send(6, "somebody"));
  EXPECT_EQ(fake.entries().size(), 1U);
}

TEST(Journal, RefusesAPathThatIsNone) {
  EXPECT_THROW(Journal(std::string(200, 'x')), std::system_error);
}

}  // namespace
}  // namespace serverd
