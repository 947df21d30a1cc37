#include "client/chat/words.h"

#include "common/wire/tsam_command.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iterator>
#include <random>
#include <string>

namespace serverd::chat {
namespace {

TEST(ChatWords, AreSentInCommaFormWhereBothSayTheSame) {
  EXPECT_EQ(wire_form("SENDMSG bob hello there, you"), "SENDMSG,bob,hello there, you");
  EXPECT_EQ(wire_form("sendmsg  bob   hello "), "SENDMSG,bob,hello ");
  EXPECT_EQ(wire_form("GETMSGS A5_1"), "GETMSGS,A5_1");
  EXPECT_EQ(wire_form(" getmsg"), "GETMSG");
  EXPECT_EQ(wire_form("KEEPALIVE 3"), "KEEPALIVE,3");
  EXPECT_EQ(wire_form("statusreq "), "STATUSREQ");
}

TEST(ChatWords, HeloKeepsItsForm) {
  EXPECT_EQ(wire_form("helo bob"), "HELO bob") << "a person";
  EXPECT_EQ(wire_form("HELO,A5_1"), "HELO,A5_1") << "a server";
}

TEST(ChatWords, WhatIsTypedWithCommasStays) {
  EXPECT_EQ(wire_form("SENDMSG,bob,a, b"), "SENDMSG,bob,a, b");
  EXPECT_EQ(wire_form("sendmsg,bob,a, b"), "SENDMSG,bob,a, b");
}

TEST(ChatWords, WhatCannotBeMeantIsLeftToTheServer) {
  EXPECT_EQ(wire_form("SENDMSG bob"), "SENDMSG bob") << "no message";
  EXPECT_EQ(wire_form("SENDMSG bob,alice hi"), "SENDMSG bob,alice hi") << "no recipient";
  EXPECT_EQ(wire_form("Hello, server"), "Hello, server");
}

TEST(ChatWords, NothingChangesItsMeaning) {
  const std::string parts[] = {"sendmsg", "SENDMSG", "helo", "getmsgs", "keepalive", "Leave", "bob",
                               "7",       ",",       " ",    " ",       "\t",        "x, y"};
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string typed;
    for (unsigned i = random() % 8; i > 0; --i) typed += parts[random() % std::size(parts)];
    const std::string sent = wire_form(typed);
    const auto before = tsam::parse_command(typed, tsam::Origin::kClient);
    const auto after = tsam::parse_command(sent, tsam::Origin::kClient);
    ASSERT_EQ(before.verb, after.verb) << typed;
    ASSERT_EQ(before.fields, after.fields) << typed << " became " << sent;
    ASSERT_LE(sent.size(), typed.size());
  }
}

TEST(ChatWords, AStampIsLocalTimeAndTheTextIsHarmless) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  EXPECT_EQ(stamped(1'700'000'000, '<', "SENDMSG,a,b,\x1b[2Jhæ\xff"),
            "[2023-11-14 22:13:20] < SENDMSG,a,b,\\x1b[2Jhæ\\xff");
}

TEST(ChatWords, BlankIsBlank) {
  EXPECT_TRUE(is_blank(""));
  EXPECT_TRUE(is_blank(" \t\r\n"));
  EXPECT_FALSE(is_blank(" x"));
}

}  // namespace
}  // namespace serverd::chat
