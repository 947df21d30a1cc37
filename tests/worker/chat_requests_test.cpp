#include "tests/support/chat_rig.h"

#include <gtest/gtest.h>

#include <string>

namespace serverd {
namespace {

using test::ChatRig;
using test::frame;
using Peer = ChatRig::Peer;

class ChatTest : public testing::Test {
 protected:
  ChatTest() { rig_.serve(); }
  void restart_with(ChatConfig config) {
    config.output = rig_.config.output;
    rig_.config = config;
    rig_.die();
  }
  Peer& named(const std::string& name) {
    Peer& peer = rig_.connect();
    rig_.line(peer, "HELO " + name);
    return peer;
  }
  Peer& linked(const std::string& id) {
    Peer& peer = rig_.connect();
    rig_.ask(peer, frame("HELO," + id));
    return peer;
  }

  ChatRig rig_;
};

// Clients

TEST_F(ChatTest, HeloInWordsIsAnsweredAndGivesTheName) {
  Peer& bob = rig_.connect();
  EXPECT_EQ(rig_.line(bob, "HELO bob"), "HELO,bob,127.0.0.1,50001,A5_43\n");
  EXPECT_EQ(rig_.line(bob, "HELO again"), "HELO,again,127.0.0.1,50001,A5_43\n");
  Peer& ann = named("ann");
  EXPECT_EQ(rig_.line(ann, "SENDMSG bob hi"), "OK,SENDMSG,1\n");
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,ann,hi\n");
  EXPECT_EQ(rig_.line(ann, "SENDMSG again hi"), "ERROR,UNKNOWN_RECIPIENT,again\n");
}

TEST_F(ChatTest, ANameInUseIsRefused) {
  named("bob");
  Peer& other = rig_.connect();
  EXPECT_EQ(rig_.line(other, "HELO bob"), "ERROR,NAME_IN_USE,bob\n");
  EXPECT_EQ(rig_.line(other, "HELO A5_43"), "ERROR,NAME_IN_USE,A5_43\n");
  EXPECT_EQ(rig_.line(other, "HELO hello there"), "HELO,hello there,127.0.0.1,50002,A5_43\n");
  EXPECT_EQ(rig_.line(other, "HELO 1"), "HELO,1,127.0.0.1,50002,A5_43\n") << "but is no name";
}

TEST_F(ChatTest, ServersNamesUs) {
  Peer& client = rig_.connect();
  EXPECT_EQ(rig_.line(client, "SERVERS"), "SERVERS,A5_43,127.0.0.1,4000;\n");
  EXPECT_EQ(rig_.line(client, "LISTSERVERS"), "SERVERS,A5_43,127.0.0.1,4000;\n");
}

TEST_F(ChatTest, RepliesUseTheFramingOfTheRequest) {
  Peer& client = rig_.connect();
  EXPECT_EQ(rig_.ask(client, frame("KEEPALIVE")), frame("KEEPALIVE,0"));
  EXPECT_EQ(rig_.ask(client, frame("SENDMSG,none,a,b")), frame("ERROR,UNKNOWN_RECIPIENT,none"));
}

TEST_F(ChatTest, BothSpellingsMeanTheSame) {
  Peer& bob = named("bob");
  Peer& ann = rig_.connect();
  EXPECT_EQ(rig_.line(ann, "SENDMSG,bob,hello, there"), "OK,SENDMSG,1\n");
  EXPECT_EQ(rig_.line(ann, "SENDMSG bob hello there"), "OK,SENDMSG,2\n");
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,2,hello, there\nSENDMSG,bob,2,hello there\n");
}

TEST_F(ChatTest, AClientWithoutANameIsItsNumber) {
  Peer& first = rig_.connect();
  Peer& second = rig_.connect();
  rig_.line(second, "KEEPALIVE");
  EXPECT_EQ(rig_.line(first, "SENDMSG 2 hi"), "OK,SENDMSG,1\n");
  EXPECT_EQ(rig_.take(second), "SENDMSG,2,1,hi\n");
  rig_.end(second);
  EXPECT_EQ(rig_.line(first, "SENDMSG 2 hi"), "ERROR,UNKNOWN_RECIPIENT,2\n");
}

TEST_F(ChatTest, MessagesWaitForANameThatHasGone) {
  Peer& bob = named("bob");
  rig_.end(bob);
  Peer& ann = named("ann");
  rig_.line(ann, "SENDMSG bob one");
  rig_.line(ann, "SENDMSG bob two");
  Peer& again = named("bob");
  EXPECT_EQ(rig_.line(again, "KEEPALIVE"), "KEEPALIVE,2\n");
  EXPECT_EQ(rig_.line(again, "GETMSG"), "SENDMSG,bob,ann,one\nOK,GETMSG,1\n");
  EXPECT_EQ(rig_.line(again, "KEEPALIVE"), "KEEPALIVE,1\n");
  rig_.line(ann, "SENDMSG bob three");
  rig_.take(again);
  EXPECT_EQ(rig_.line(again, "GETMSGS"), "SENDMSG,bob,ann,two\nOK,GETMSGS,1\n");
  EXPECT_EQ(rig_.line(again, "GETMSGS"), "OK,GETMSGS,0\n");
}

TEST_F(ChatTest, AMailboxOfAnySizeIsReadWhole) {
  rig_.end(named("bob"));
  Peer& ann = named("ann");
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    const std::string content(3000, static_cast<char>('a' + i % 26));
    rig_.line(ann, "SENDMSG bob " + content);
    expected += "SENDMSG,bob,ann," + content + "\n";
  }
  Peer& bob = named("bob");
  const std::string got = rig_.line(bob, "GETMSGS");
  EXPECT_TRUE(got == expected + "OK,GETMSGS,300\n") << got.size() << " of " << expected.size();
  EXPECT_EQ(rig_.line(bob, "GETMSGS"), "OK,GETMSGS,0\n");
}

TEST_F(ChatTest, WhatWasNotSentWaitsAgain) {
  Peer& bob = named("bob");
  Peer& ann = named("ann");
  bob.stuck = true;
  rig_.line(ann, "SENDMSG bob one");
  rig_.end(bob, ledger::Cause::kReset);
  Peer& again = named("bob");
  EXPECT_EQ(rig_.line(again, "GETMSGS"), "SENDMSG,bob,ann,one\nOK,GETMSGS,1\n");
}

TEST_F(ChatTest, MailboxesOfOthersAreClosedUnlessTheyAreGroups) {
  named("bob");
  Peer& ann = named("ann");
  EXPECT_EQ(rig_.line(ann, "GETMSGS bob"), "ERROR,NOT_PERMITTED,bob\n");
  EXPECT_EQ(rig_.line(ann, "GETMSGS nobody"), "ERROR,UNKNOWN_RECIPIENT,nobody\n");
  rig_.line(ann, "SENDMSG A5_43 for all of us");
  EXPECT_EQ(rig_.line(ann, "GETMSGS,A5_43"), "SENDMSG,A5_43,ann,for all of us\nOK,GETMSGS,1\n");
}

TEST_F(ChatTest, OpenMailboxesDecides) {
  rig_.end(named("bob"));
  Peer& ann = named("ann");
  rig_.line(ann, "SENDMSG bob hi");
  ChatConfig config;
  config.open_mailboxes = true;
  restart_with(config);
  EXPECT_EQ(rig_.line(ann, "GETMSGS bob"), "SENDMSG,bob,ann,hi\nOK,GETMSGS,1\n");
  config.open_mailboxes = false;
  restart_with(config);
  EXPECT_EQ(rig_.line(ann, "GETMSGS A5_43"), "ERROR,NOT_PERMITTED,A5_43\n");
}

TEST_F(ChatTest, StatusIsGivenToClients) {
  Peer& client = rig_.connect();
  const std::string status = rig_.line(client, "STATUSREQ");
  EXPECT_TRUE(status.starts_with("STATUSRESP,A5_43,uptime,")) << status;
  EXPECT_TRUE(status.ends_with(",clients,1,peers,0,messages,0,load,0.00\n")) << status;
}

TEST_F(ChatTest, LeaveEndsTheConnection) {
  Peer& client = rig_.connect();
  EXPECT_EQ(rig_.ask(client, "KEEPALIVE\nLEAVE\nKEEPALIVE\n"), "KEEPALIVE,0\n");
  EXPECT_EQ(client.session->ending(), ledger::Cause::kEof);
  rig_.die();
  EXPECT_EQ(client.session->ending(), ledger::Cause::kEof);
}

TEST_F(ChatTest, WhatIsNoCommandIsSaid) {
  Peer& client = rig_.connect();
  EXPECT_EQ(rig_.line(client, "FOO bar"), "ERROR,UNKNOWN_COMMAND,FOO\n");
  EXPECT_EQ(rig_.line(client, ""), "");
  EXPECT_EQ(rig_.line(client, "ERROR,UNKNOWN_COMMAND,x"), "");
  EXPECT_EQ(rig_.line(client, "SENDMSG bob"), "ERROR,MALFORMED,SENDMSG\n");
  EXPECT_EQ(rig_.line(client, std::string(6000, 'x')),
            "ERROR,TOO_LONG,a command has at most 5000 bytes\n");
  EXPECT_EQ(rig_.line(client, "KEEPALIVE"), "KEEPALIVE,0\n") << "and goes on";
}

TEST_F(ChatTest, MailboxesAreBounded) {
  ChatConfig config;
  config.max_messages_per_recipient = 2;
  config.max_messages = 3;
  restart_with(config);
  rig_.end(named("bob"));
  rig_.end(named("eve"));
  Peer& ann = named("ann");
  rig_.line(ann, "SENDMSG bob 1");
  rig_.line(ann, "SENDMSG bob 2");
  EXPECT_EQ(rig_.line(ann, "SENDMSG bob 3"), "ERROR,MAILBOX_FULL,bob\n");
  EXPECT_EQ(rig_.line(ann, "SENDMSG eve 3"), "OK,SENDMSG,3\n");
  EXPECT_EQ(rig_.line(ann, "SENDMSG eve 4"), "ERROR,MAILBOX_FULL,eve\n");
}

TEST_F(ChatTest, NamesAreBounded) {
  for (int i = 0; i < 100'000; ++i)
    rig_.service->store().add_mailbox("name" + std::to_string(i), false, rig_.wall);
  ASSERT_FALSE(rig_.service->store().commit());
  rig_.die();
  Peer& client = rig_.connect();
  EXPECT_EQ(rig_.line(client, "HELO one-more"), "ERROR,TOO_MANY_NAMES,HELO\n");
  EXPECT_TRUE(rig_.line(client, "HELO name7").starts_with("HELO,name7,"));
  Peer& peer = rig_.connect();
  EXPECT_EQ(rig_.ask(peer, frame("HELO,B_1")), frame("ERROR,TOO_MANY_NAMES,HELO"));
}

TEST_F(ChatTest, OldMessagesExpire) {
  rig_.end(named("bob"));
  Peer& ann = named("ann");
  rig_.line(ann, "SENDMSG bob old");
  rig_.wall += 8 * 24 * 3600;
  rig_.line(ann, "SENDMSG bob young");
  rig_.service->expire();
  rig_.turn_end();
  Peer& bob = named("bob");
  EXPECT_EQ(rig_.line(bob, "GETMSGS"), "SENDMSG,bob,ann,young\nOK,GETMSGS,1\n");
}

TEST_F(ChatTest, AClientThatDoesNotReadIsSlow) {
  Peer& bob = named("bob");
  Peer& ann = named("ann");
  bob.stuck = true;
  for (int i = 0; i < 100 && !bob.session->ending(); ++i)
    rig_.line(ann, "SENDMSG bob " + std::string(4000, 'x'));
  EXPECT_EQ(bob.session->ending(), ledger::Cause::kSlow);
  rig_.end(bob, ledger::Cause::kSlow);
  Peer& again = named("bob");
  EXPECT_TRUE(rig_.line(again, "GETMSGS").starts_with("SENDMSG,bob,ann,xxx")) << "nothing is lost";
}

TEST_F(ChatTest, AClientThatOnlyAsksIsNotHeardForEver) {
  Peer& client = rig_.connect();
  client.stuck = true;
  std::string requests;
  for (int i = 0; i < 20'000; ++i) requests += "STATUSREQ\n";
  rig_.ask(client, requests);
  EXPECT_GT(client.sent.size(), 100'000U) << "they wait in its socket";
  client.stuck = false;
  std::size_t replies = 0;
  for (int i = 0; i < 100 && !client.sent.empty(); ++i) {
    const std::string got = rig_.ask(client, "");
    replies += static_cast<std::size_t>(std::count(got.begin(), got.end(), '\n'));
  }
  EXPECT_EQ(replies, 20'000U);
}

TEST_F(ChatTest, RequestsAndRepliesAreLogged) {
  Peer& client = rig_.connect();
  rig_.line(client, "FOO\x1b[31m");
  const std::string log = rig_.log();
  EXPECT_NE(log.find("] Client 1: FOO\\x1b[31m\n"), std::string::npos) << log;
  EXPECT_NE(log.find("] To client 1: ERROR,UNKNOWN_COMMAND,FOO"), std::string::npos) << log;
  EXPECT_EQ(log.find("[2001-09-09 "), 0U) << log;
}

TEST_F(ChatTest, OverloadIsSaidOnceAndAgainWhenItIsOver) {
  Peer& client = rig_.connect();
  rig_.line(client, "KEEPALIVE");
  rig_.clock.run_once(std::chrono::milliseconds(2));
  rig_.cpu = 1e9;
  rig_.service->measure_load();
  rig_.turn_end();
  EXPECT_NE(rig_.take(client).find(",load,1.00\n"), std::string::npos);
  rig_.clock.run_once(std::chrono::milliseconds(2));
  rig_.service->measure_load();
  rig_.turn_end();
  EXPECT_NE(rig_.take(client).find(",load,0.00\n"), std::string::npos);
  rig_.clock.run_once(std::chrono::milliseconds(2));
  rig_.service->measure_load();
  rig_.turn_end();
  EXPECT_EQ(rig_.take(client), "");
}

// Other servers

TEST_F(ChatTest, HeloWithAnIdBeginsALink) {
  Peer& peer = rig_.connect();
  EXPECT_EQ(rig_.ask(peer, frame("HELO,A5_2")),
            frame("HELO,A5_43") + frame("SERVERS,A5_43,127.0.0.1,4000;A5_2,127.0.0.1,-1;"));
  EXPECT_EQ(rig_.ask(peer, frame("SERVERS,A5_2,127.0.0.1,4001;A5_3,127.0.0.1,4002;")), "");
  Peer& client = rig_.connect();
  EXPECT_EQ(rig_.line(client, "SERVERS"), "SERVERS,A5_43,127.0.0.1,4000;A5_2,127.0.0.1,4001;\n");
}

TEST_F(ChatTest, MessagesForAGroupGoToItsServer) {
  Peer& peer = linked("A5_2");
  Peer& ann = named("ann");
  EXPECT_EQ(rig_.line(ann, "SENDMSG A5_2 one, two"), "OK,SENDMSG,1\n");
  EXPECT_EQ(rig_.take(peer), frame("SENDMSG,A5_2,A5_43,one, two"));
  EXPECT_EQ(rig_.ask(peer, frame("SENDMSG,ann,A5_2,back, and forth")), "") << "no OK";
  EXPECT_EQ(rig_.take(ann), "SENDMSG,ann,A5_2,back, and forth\n");
}

TEST_F(ChatTest, MessagesForALostGroupWaitAndAreAnnounced) {
  Peer& peer = linked("A5_2");
  rig_.end(peer);
  Peer& ann = named("ann");
  EXPECT_EQ(rig_.line(ann, "SENDMSG A5_2 late"), "OK,SENDMSG,1\n");
  Peer& again = rig_.connect();
  const std::string got = rig_.ask(again, frame("HELO,A5_2"));
  EXPECT_TRUE(got.ends_with(frame("KEEPALIVE,1"))) << got;
  EXPECT_EQ(rig_.ask(again, frame("STATUSREQ")), frame("STATUSRESP,A5_43,0,A5_2,1"));
  EXPECT_EQ(rig_.ask(again, frame("GETMSGS,A5_2")), frame("SENDMSG,A5_2,A5_43,late"));
  EXPECT_EQ(rig_.ask(again, frame("GETMSGS,A5_2")), "");
}

TEST_F(ChatTest, KeepAliveOfAPeerAsksForItsMessages) {
  Peer& peer = linked("A5_2");
  EXPECT_EQ(rig_.ask(peer, frame("KEEPALIVE,0")), "");
  EXPECT_EQ(rig_.ask(peer, frame("KEEPALIVE,2")), frame("GETMSGS,A5_43"));
}

TEST_F(ChatTest, AGroupThatAPeerListsIsReachedThroughIt) {
  Peer& peer = linked("A5_2");
  rig_.ask(peer, frame("SERVERS,A5_2,127.0.0.1,4001;A5_3,127.0.0.1,4002;"));
  Peer& ann = named("ann");
  EXPECT_EQ(rig_.line(ann, "SENDMSG A5_3 far"), "OK,SENDMSG,1\n");
  EXPECT_EQ(rig_.take(peer), frame("SENDMSG,A5_3,A5_43,far"));
  Peer& other = linked("A5_4");
  rig_.ask(other, frame("SENDMSG,A5_3,A5_4,never in circles"));
  EXPECT_EQ(rig_.take(peer), "") << "what came from a server waits for the group itself";
  rig_.end(peer);
  EXPECT_EQ(rig_.line(ann, "SENDMSG A5_3 later"), "OK,SENDMSG,3\n");
  Peer& again = linked("A5_2");
  EXPECT_EQ(rig_.ask(again, frame("SERVERS,A5_2,127.0.0.1,4001;A5_3,127.0.0.1,4002;")),
            frame("SENDMSG,A5_3,A5_43,later"));
}

TEST_F(ChatTest, AnErrorIsNeverAnsweredWithAnError) {
  Peer& peer = linked("A5_2");
  EXPECT_EQ(rig_.ask(peer, frame("ERROR,WHAT,ever")), "");
  EXPECT_EQ(rig_.ask(peer, frame("OK,FINE")), "");
  EXPECT_EQ(rig_.ask(peer, frame("NONSENSE")), frame("ERROR,UNKNOWN_COMMAND,NONSENSE"));
}

TEST_F(ChatTest, ALinkToOurselvesIsClosed) {
  Peer& peer = linked("A5_43");
  EXPECT_TRUE(peer.session->ending());
}

TEST_F(ChatTest, ASecondLinkIsClosed) {
  Peer& first = linked("A5_2");
  Peer& second = linked("A5_2");
  EXPECT_FALSE(first.session->ending());
  EXPECT_TRUE(second.session->ending());
  rig_.end(second);
  Peer& ann = named("ann");
  rig_.line(ann, "SENDMSG A5_2 hi");
  EXPECT_EQ(rig_.take(first), frame("SENDMSG,A5_2,A5_43,hi")) << "the first goes on";
}

TEST_F(ChatTest, ANameOfAClientIsNoServersId) {
  named("A5_9");
  Peer& peer = rig_.connect();
  EXPECT_EQ(rig_.ask(peer, frame("HELO,A5_9")), frame("ERROR,NAME_IN_USE,A5_9"));
  EXPECT_TRUE(peer.session->ending());
}

TEST_F(ChatTest, ServersAreListedInOneOrderWhateverHappens) {
  for (int i = 0; i < 8; ++i) linked("B_" + std::to_string(i));
  Peer& client = rig_.connect();
  const std::string list = rig_.line(client, "SERVERS");
  for (int i = 0; i < 7; ++i)
    EXPECT_LT(list.find("B_" + std::to_string(i)), list.find("B_" + std::to_string(i + 1)));
  rig_.die();
  EXPECT_EQ(rig_.line(client, "SERVERS"), list);
}

TEST_F(ChatTest, KeepAliveIsSaidOnceAMinuteAlsoWhenTheWorkerDies) {
  Peer& peer = linked("A5_2");
  for (int i = 0; i < 3; ++i) rig_.die();
  rig_.service->tick();
  rig_.turn_end();
  EXPECT_EQ(rig_.take(peer), "");
}

TEST_F(ChatTest, NothingThatIsSaidIsLongerThanACommand) {
  Peer& client = rig_.connect();
  const std::string longest(4990, 'x');
  EXPECT_EQ(rig_.line(client, "HELO " + longest), "ERROR,TOO_LONG,HELO\n");
  for (const std::string& request : {"SENDMSG " + longest + " x", longest, "GETMSGS " + longest})
    EXPECT_LE(rig_.line(client, request).size(), tsam::kLongestCommand + 1) << request;
}

TEST_F(ChatTest, LinksAreBounded) {
  for (int i = 0; i < 8; ++i) linked("B_" + std::to_string(i));
  Peer& ninth = rig_.connect();
  EXPECT_EQ(rig_.ask(ninth, frame("HELO,B_8")), frame("ERROR,TOO_MANY_PEERS,try another server"));
  EXPECT_TRUE(ninth.session->ending());
}

// What nobody should send

TEST_F(ChatTest, WhatNoClientShouldSendHarmsNoOther) {
  Peer& bob = named("bob");
  Peer& eve = rig_.connect();
  EXPECT_EQ(rig_.ask(eve, "\x01\x04"), "") << "an empty command";
  EXPECT_EQ(rig_.ask(eve, "garbage\x04 between\x01KEEPALIVE\x04"), frame("KEEPALIVE,0"));
  EXPECT_EQ(rig_.ask(eve, "\x01SENDMSG,bob,lost\x01KEEPALIVE\x04"), frame("KEEPALIVE,0"))
      << "SOH within a frame begins another";
  EXPECT_EQ(rig_.ask(eve, frame(std::string(5001, 'x')) + frame("KEEPALIVE")),
            frame("ERROR,TOO_LONG,a command has at most 5000 bytes") + frame("KEEPALIVE,0"));
  EXPECT_EQ(rig_.ask(eve, frame("KEEPALIVE,many")), frame("KEEPALIVE,0"));
  const std::string content = std::string("a,b;") + '\0' + "\x1b\x1b\x1b\x04\x1b\x01\n\x7f\xff";
  EXPECT_EQ(rig_.ask(eve, frame("SENDMSG,bob," + content)), frame("OK,SENDMSG,1"));
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,2,a,b;\\x00\\x1b\\x04\\x01\\x0a\\x7f\\xff\n");
  const std::string log = rig_.log();
  EXPECT_TRUE(std::none_of(log.begin(), log.end(), [](char c) {
    return c != '\n' && (static_cast<unsigned char>(c) < ' ' || c == 0x7f);
  })) << "nothing is logged raw";
  EXPECT_EQ(rig_.ask(eve, "\x01SENDMSG,bob,without an end"), "");
  rig_.end(eve);
  EXPECT_EQ(rig_.take(bob), "");
}

TEST_F(ChatTest, NobodySpeaksForAnother) {
  Peer& bob = named("bob");
  Peer& eve = named("eve");
  EXPECT_EQ(rig_.line(eve, "SENDMSG,bob,A5_2,give me money"), "OK,SENDMSG,1\n");
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,eve,A5_2,give me money\n") << "the sender is eve";
  EXPECT_EQ(rig_.ask(eve, "HELO,A5_2\n"), "ERROR,NAMED_ALREADY,eve\n");
  Peer& other = rig_.connect();
  for (const std::string name : {"a,b", "a;b", "a\x04", "-1 x", "17"})
    EXPECT_TRUE(rig_.line(other, "HELO " + name).starts_with("HELO,"));
  EXPECT_EQ(rig_.line(other, "SENDMSG bob hi"), "OK,SENDMSG,2\n");
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,3,hi\n") << "none of these has become its name";
}

TEST_F(ChatTest, AServersListThatIsHugeOrPointsAtUsIsHarmless) {
  ChatConfig config;
  config.min_peers = 4;
  restart_with(config);
  Peer& peer = linked("A5_2");
  std::string list =
      "SERVERS,A5_2,127.0.0.1,4001;A5_43,127.0.0.1,4000;;;,,;A5_2,x y,1;A5_2,1.1.1.1,70000;";
  for (int i = 0; list.size() < 4900; ++i) list += "C_" + std::to_string(i) + ",127.0.0.1,4002;";
  EXPECT_EQ(rig_.ask(peer, frame(list)), "");
  rig_.service->tick();
  ASSERT_EQ(rig_.connects.size(), 1U) << "one place, however many names";
  EXPECT_EQ(rig_.connects[0].first.port(), 4002);
}

TEST_F(ChatTest, APlaceThatIsOurselvesIsNotConnectedToAgain) {
  ChatConfig config;
  config.peers = {"127.0.0.1:4000"};
  restart_with(config);
  ASSERT_EQ(rig_.connects.size(), 1U);
  Peer& out = rig_.connected(rig_.connects[0].second);
  rig_.turn_end();
  EXPECT_EQ(rig_.take(out), frame("HELO,A5_43"));
  Peer& in = rig_.connect();
  rig_.ask(in, frame("HELO,A5_43"));
  EXPECT_TRUE(in.session->ending());
  rig_.ask(out, frame("HELO,A5_43"));
  EXPECT_TRUE(out.session->ending());
  rig_.end(out);
  rig_.end(in);
  for (int i = 0; i < 3; ++i) rig_.service->tick();
  EXPECT_EQ(rig_.connects.size(), 1U);
}

TEST_F(ChatTest, APeerThatRepeatsItselfIsAnsweredAndNoMore) {
  Peer& peer = linked("A5_2");
  EXPECT_EQ(rig_.ask(peer, frame("HELO,A5_2")),
            frame("SERVERS,A5_43,127.0.0.1,4000;A5_2,127.0.0.1,-1;"))
      << "HELO is said once";
  EXPECT_EQ(rig_.ask(peer, frame("HELO,A5_3")), frame("ERROR,NAMED_ALREADY,A5_2"));
  EXPECT_EQ(rig_.ask(peer, frame("KEEPALIVE,x") + frame("KEEPALIVE,-1") + frame("KEEPALIVE")), "");
  EXPECT_EQ(rig_.ask(peer, frame("SENDMSG,nobody,A5_2,x")),
            frame("ERROR,UNKNOWN_RECIPIENT,nobody"));
  EXPECT_EQ(rig_.ask(peer, frame("SENDMSG,A5_43,no id,x")), frame("ERROR,MALFORMED,SENDMSG"));
}

TEST_F(ChatTest, APeerThatFloodsIsBounded) {
  ChatConfig config;
  config.max_messages_per_recipient = 10;
  restart_with(config);
  Peer& peer = linked("A5_2");
  std::string flood;
  for (int i = 0; i < 30; ++i) flood += frame("SENDMSG,A5_43,A5_2,flood");
  std::string refusals;
  for (int i = 0; i < 20; ++i) refusals += frame("ERROR,MAILBOX_FULL,A5_43");
  EXPECT_EQ(rig_.ask(peer, flood), refusals);
  rig_.end(peer, ledger::Cause::kReset);
  Peer& ann = named("ann");
  EXPECT_TRUE(rig_.line(ann, "GETMSGS A5_43").ends_with("OK,GETMSGS,10\n"));
}

// The requests of the specification, byte for byte

TEST_F(ChatTest, TheExamplesOfTheSpecification) {
  Peer& bob = rig_.connect();
  Peer& ann = rig_.connect();
  EXPECT_EQ(rig_.ask(bob, "HELO bob\n"), "HELO,bob,127.0.0.1,50001,A5_43\n");
  EXPECT_EQ(rig_.ask(ann, "SENDMSG bob hello there\r\n"), "OK,SENDMSG,1\n");
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,2,hello there\n");
  EXPECT_EQ(rig_.ask(ann, "SENDMSG,bob,hello there\n"), "OK,SENDMSG,2\n");
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,2,hello there\n");
  EXPECT_EQ(rig_.ask(ann, "KEEPALIVE\n"), "KEEPALIVE,0\n");
  EXPECT_EQ(rig_.ask(ann, "KEEPALIVE,7\n"), "KEEPALIVE,0\n");
  EXPECT_EQ(rig_.ask(ann, "SERVERS\nLISTSERVERS\n"),
            "SERVERS,A5_43,127.0.0.1,4000;\nSERVERS,A5_43,127.0.0.1,4000;\n");
  EXPECT_EQ(rig_.ask(ann, "GETMSGS\nGETMSG\n"), "OK,GETMSGS,0\nOK,GETMSG,0\n");
  EXPECT_EQ(rig_.ask(ann, "SENDMSG nobody x\nWHO are you\n"),
            "ERROR,UNKNOWN_RECIPIENT,nobody\nERROR,UNKNOWN_COMMAND,WHO\n");

  Peer& peer = rig_.connect();
  EXPECT_EQ(rig_.ask(peer, "\x01HELO,Instr_1\x04\x01STATUSREQ\x04"),
            "\x01HELO,A5_43\x04"
            "\x01SERVERS,A5_43,127.0.0.1,4000;Instr_1,127.0.0.1,-1;\x04"
            "\x01STATUSRESP,A5_43,0\x04");
  EXPECT_EQ(rig_.ask(peer, "\x01SENDMSG,A5_43,Instr_1,a, b, and c\x04"), "");
  EXPECT_EQ(rig_.ask(peer, "\x01STATUSREQ\x04\x01GETMSGS,A5_43\x04"),
            "\x01STATUSRESP,A5_43,1\x04\x01SENDMSG,A5_43,Instr_1,a, b, and c\x04");
  EXPECT_EQ(rig_.ask(peer, "\x01KEEPALIVE,3\x04"), "\x01GETMSGS,A5_43\x04");
  EXPECT_NE(rig_.log().find("] Client 2: LISTSERVERS\n"), std::string::npos);
}

// A worker's death, and a disk without room

TEST_F(ChatTest, ADeathAtAnyStepNeitherRepeatsNorTears) {
  for (int step = 0; step < 6; ++step) {
    Peer& bob = rig_.connect();
    Peer& ann = rig_.connect();
    const std::string name = "bob" + std::to_string(step);
    rig_.line(bob, "HELO " + name);
    rig_.line(ann, "KEEPALIVE");
    rig_.take(bob);
    rig_.send(ann, "SENDMSG " + name + " one\nSENDMSG " + name + " two\nKEEP");
    bool taken = false;
    if (step >= 1) {
      ASSERT_FALSE(rig_.service->commit());
      taken = true;
    }
    if (step >= 2) rig_.settle();
    rig_.pending.clear();
    if (step == 3) rig_.write(ann, 7);
    if (step == 4) rig_.write(bob, 10);
    if (step == 5) rig_.write(bob);
    rig_.die();
    if (!taken) {
      rig_.send(ann, "");  // they are still in the socket
      rig_.turn_end();
    }
    rig_.send(ann, "ALIVE\n");
    rig_.turn_end();
    const std::string number = std::to_string(rig_.ledger.slots()[ann.index].id);
    EXPECT_EQ(rig_.take(bob),
              "SENDMSG," + name + "," + number + ",one\nSENDMSG," + name + "," + number + ",two\n")
        << "step " << step;
    const std::string got = rig_.take(ann);
    EXPECT_TRUE(got.ends_with("KEEPALIVE,0\n")) << got;
    EXPECT_EQ(std::count(got.begin(), got.end(), '\n'), 3) << got;
    EXPECT_EQ(rig_.line(bob, "GETMSGS"), "OK,GETMSGS,0\n") << "step " << step;
  }
}

TEST_F(ChatTest, ADeathWithinAMailboxsReading) {
  rig_.end(named("bob"));
  Peer& ann = named("ann");
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string content = std::to_string(i) + std::string(3000, 'x');
    rig_.line(ann, "SENDMSG bob " + content);
    expected += "SENDMSG,bob,ann," + content + "\n";
  }
  Peer& bob = named("bob");
  bob.stuck = true;
  rig_.line(bob, "GETMSGS");
  std::string got;
  for (int i = 0; i < 2000 && !got.ends_with("OK,GETMSGS,100\n"); ++i) {
    bob.stuck = false;
    rig_.write(bob, 1777);
    bob.stuck = true;
    if (i % 7 == 0) rig_.die();
    rig_.service->commit();
    got += rig_.take(bob);
  }
  EXPECT_TRUE(got == expected + "OK,GETMSGS,100\n") << got.size() << " of " << expected.size();
}

TEST_F(ChatTest, ATurnThatCannotBeCommittedHasNotHappened) {
  Peer& bob = named("bob");
  Peer& ann = named("ann");
  rig_.send(ann, "SENDMSG bob one\nSENDMSG bob two\n");
  rig_.fail_commit();
  EXPECT_TRUE(rig_.turn_end());
  EXPECT_EQ(rig_.take(bob), "");
  EXPECT_EQ(rig_.take(ann), "");
  EXPECT_EQ(rig_.ask(ann, ""), "OK,SENDMSG,1\nOK,SENDMSG,2\n") << "shown again";
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,ann,one\nSENDMSG,bob,ann,two\n");
}

TEST_F(ChatTest, ALastLineThatCouldNotBeStoredIsNotForgotten) {
  Peer& bob = named("bob");
  Peer& ann = named("ann");
  EXPECT_EQ(rig_.ask(ann, "SENDMSG bob one\nSENDMSG bob and no end"), "OK,SENDMSG,1\n");
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,ann,one\n");
  ann.session->on_eof();
  rig_.fail_commit();
  EXPECT_TRUE(rig_.turn_end());
  EXPECT_EQ(rig_.take(ann), "");
  EXPECT_FALSE(rig_.service->retry());
  EXPECT_FALSE(rig_.turn_end());
  EXPECT_EQ(rig_.take(ann), "OK,SENDMSG,2\n");
  EXPECT_EQ(rig_.take(bob), "SENDMSG,bob,ann,and no end\n");
}

TEST_F(ChatTest, NamesAndMessagesSurviveARestartOfAll) {
  rig_.end(named("bob"));
  Peer& ann = named("ann");
  rig_.line(ann, "SENDMSG bob kept");
  for (auto& [index, peer] : rig_.peers) peer.session.reset();
  rig_.peers.clear();
  rig_.die();
  Peer& bob = named("bob");
  EXPECT_EQ(rig_.line(bob, "GETMSGS"), "SENDMSG,bob,ann,kept\nOK,GETMSGS,1\n");
}

}  // namespace
}  // namespace serverd
