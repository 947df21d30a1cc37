#include "supervisor/admin/table.h"

#include "supervisor/admin/status.h"

#include <gtest/gtest.h>

namespace serverd {
namespace {

Table small_table() {
  Table table({{"Name"}, {"Count", true}, {"State"}});
  table.add({{"a"}, {"5"}, {"up", Colour::kGreen}});
  table.add({{"longer"}, {"1234567"}, {"quarantined", Colour::kRed}});
  return table;
}

TEST(Table, ForProgramsHasTabsAndNothingElse) {
  EXPECT_EQ(small_table().text(TableStyle::kTabs),
            "Name\tCount\tState\na\t5\tup\nlonger\t1234567\tquarantined\n");
}

TEST(Table, ForPeopleIsAlignedAndColoured) {
  EXPECT_EQ(small_table().text(TableStyle::kTerminal),
            "\x1b[1mName\x1b[0m      \x1b[1mCount\x1b[0m  \x1b[1mState\x1b[0m\n"
            "a             5  \x1b[32mup\x1b[0m\n"
            "longer  1234567  \x1b[31mquarantined\x1b[0m\n");
}

TEST(Table, WithoutRowsIsItsHeadings) {
  EXPECT_EQ(Table({{"A"}, {"B", true}}).text(TableStyle::kTabs), "A\tB\n");
}

TEST(Table, DurationsAreShort) {
  EXPECT_EQ(duration_text(0), "0 s");
  EXPECT_EQ(duration_text(59), "59 s");
  EXPECT_EQ(duration_text(60), "1 min");
  EXPECT_EQ(duration_text(3599), "59 min");
  EXPECT_EQ(duration_text(3600), "1 h 0 min");
  EXPECT_EQ(duration_text(86399), "23 h 59 min");
  EXPECT_EQ(duration_text(90000), "1 d 1 h");
}

TEST(StatusTable, NamesWhatIsDownAndWhy) {
  PortStatus up;
  up.service = "capture";
  up.port = 5000;
  up.state = "up";
  up.worker_pid = 8;
  PortStatus held = up;
  held.port = 5001;
  held.state = "quarantined";
  held.worker_pid = 0;
  held.last_death = "exited with code 78";
  const std::string text = status_table({"main", 7, 61, {up, held}}, TableStyle::kTabs);
  EXPECT_TRUE(text.starts_with("main: pid 7, running for 1 min, 1 of 2 ports up\nPort\tService"))
      << text;
  EXPECT_TRUE(text.ends_with("Port 5001 is not served: the worker exited with code 78\n")) << text;
  EXPECT_TRUE(is_served(up));
  EXPECT_FALSE(is_served(held));
}

}  // namespace
}  // namespace serverd
