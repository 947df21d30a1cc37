#include "client/chat/awaited.h"

#include <gtest/gtest.h>

#include <string>

namespace serverd::chat {
namespace {

TEST(ChatAwaited, EachRequestHasItsAnswer) {
  const std::pair<const char*, const char*> pairs[] = {
      {"HELO bob", "HELO,bob,127.0.0.1,4000,A5_43"},
      {"HELO,A5_1", "SERVERS,A5_43,127.0.0.1,4000;"},
      {"SERVERS", "SERVERS,A5_43,127.0.0.1,4000;"},
      {"LISTSERVERS", "SERVERS,A5_43,127.0.0.1,4000;"},
      {"KEEPALIVE", "KEEPALIVE,0"},
      {"SENDMSG,bob,hi", "OK,SENDMSG,17"},
      {"GETMSGS", "OK,GETMSGS,0"},
      {"GETMSG", "OK,GETMSG,1"},
      {"STATUSREQ", "STATUSRESP,A5_43,uptime,1"},
      {"NONSENSE", "ERROR,UNKNOWN_COMMAND,NONSENSE"},
  };
  for (const auto& [request, reply] : pairs) {
    Awaited awaited;
    EXPECT_TRUE(awaited.empty());
    awaited.sent(request);
    EXPECT_FALSE(awaited.empty()) << request;
    awaited.received("SENDMSG,bob,alice,a message is no answer");
    EXPECT_FALSE(awaited.empty()) << request;
    awaited.received(reply);
    EXPECT_TRUE(awaited.empty()) << request;
  }
}

TEST(ChatAwaited, AnAnswerToALaterRequestPassesOverThoseBefore) {
  Awaited awaited;
  awaited.sent("SENDMSG,bob,hi");
  awaited.sent("STATUSREQ");
  awaited.sent("GETMSGS");
  awaited.received("STATUSRESP,x,1");
  EXPECT_FALSE(awaited.empty());
  awaited.received("ERROR,FORBIDDEN,GETMSGS");
  EXPECT_TRUE(awaited.empty());
}

TEST(ChatAwaited, WhatNobodyAskedForAnswersNothing) {
  Awaited awaited;
  EXPECT_FALSE(awaited.received("ERROR,SOMETHING"));
  awaited.sent("GETMSGS");
  awaited.received("STATUSRESP,A5_43,load,9.00");
  awaited.received("OK,SENDMSG,1");
  awaited.received("");
  EXPECT_FALSE(awaited.empty());
}

TEST(ChatAwaited, KnowsWhichKeepaliveWasTheProgramsOwn) {
  Awaited awaited;
  awaited.sent("KEEPALIVE", true);
  awaited.sent("KEEPALIVE");
  EXPECT_TRUE(awaited.received("KEEPALIVE,0"));
  EXPECT_FALSE(awaited.received("KEEPALIVE,0"));
  EXPECT_TRUE(awaited.empty());
}

}  // namespace
}  // namespace serverd::chat
