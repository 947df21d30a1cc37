#include "client/chat/words.h"

#include <gtest/gtest.h>

#include <cstdlib>
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
