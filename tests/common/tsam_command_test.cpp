#include "common/wire/tsam_command.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace serverd::tsam {
namespace {

using Fields = std::vector<std::string>;

Fields fields(const Command& command) {
  return {command.fields.begin(), command.fields.begin() + static_cast<long>(command.count)};
}

Fields client(std::string_view text) { return fields(parse_command(text, Origin::kClient)); }
Fields server(std::string_view text) { return fields(parse_command(text, Origin::kServer)); }
Verb verb(std::string_view text) { return parse_command(text, Origin::kClient).verb; }
Form form(std::string_view text) { return parse_command(text, Origin::kClient).form; }

TEST(TsamCommand, KnowsEveryWord) {
  EXPECT_EQ(verb("HELO,A5_1"), Verb::kHelo);
  EXPECT_EQ(verb("SERVERS"), Verb::kServers);
  EXPECT_EQ(verb("LISTSERVERS"), Verb::kListServers);
  EXPECT_EQ(verb("KEEPALIVE,3"), Verb::kKeepAlive);
  EXPECT_EQ(verb("SENDMSG,a,b"), Verb::kSendMsg);
  EXPECT_EQ(verb("GETMSGS"), Verb::kGetMsgs);
  EXPECT_EQ(verb("GETMSG"), Verb::kGetMsg);
  EXPECT_EQ(verb("STATUSREQ"), Verb::kStatusReq);
  EXPECT_EQ(verb("STATUSRESP,a,1"), Verb::kStatusResp);
  EXPECT_EQ(verb("LEAVE"), Verb::kLeave);
  EXPECT_EQ(verb("OK,SENDMSG,1"), Verb::kOk);
  EXPECT_EQ(verb("ERROR,X"), Verb::kError);
  for (const char* text : {"", ",", "LEAVES", "LEAV", "GETMSGS;", "HELO\x01", "\xff"})
    EXPECT_EQ(verb(text), Verb::kUnknown) << text;
}

TEST(TsamCommand, TakesTheWordInAnyCaseAndAfterBlanks) {
  EXPECT_EQ(verb("leave"), Verb::kLeave);
  EXPECT_EQ(verb(" \tSendMsg bob hi"), Verb::kSendMsg);
  EXPECT_EQ(verb("sendmsg,bob,hi"), Verb::kSendMsg);
}

TEST(TsamCommand, BothFormsSayTheSame) {
  const Fields expected = {"bob", "hello there, you"};
  EXPECT_EQ(client("SENDMSG bob hello there, you"), expected);
  EXPECT_EQ(client("SENDMSG,bob,hello there, you"), expected);
  EXPECT_EQ(client("SENDMSG  bob \t hello there, you"), expected);
  EXPECT_EQ(client("SENDMSG, bob ,hello there, you"), expected);
}

TEST(TsamCommand, ContentKeepsItsCommasAndBlanks) {
  EXPECT_EQ(client("SENDMSG,bob,a,b,,c, "), (Fields{"bob", "a,b,,c, "}));
  EXPECT_EQ(server("SENDMSG,bob,A5_1,a,b,,c, "), (Fields{"bob", "A5_1", "a,b,,c, "}));
  EXPECT_EQ(client("SENDMSG bob a,b "), (Fields{"bob", "a,b "}));
  EXPECT_EQ(client("SENDMSG,bob, indented"), (Fields{"bob", " indented"}));
  EXPECT_EQ(client("SENDMSG,bob,"), (Fields{"bob", ""}));
}

TEST(TsamCommand, MissingFieldsAreMissing) {
  EXPECT_EQ(client("SENDMSG"), Fields{});
  EXPECT_EQ(client("SENDMSG bob"), Fields{"bob"});
  EXPECT_EQ(server("SENDMSG,bob,A5_1"), (Fields{"bob", "A5_1"}));
  EXPECT_EQ(client("GETMSGS"), Fields{});
  EXPECT_EQ(client("GETMSGS "), Fields{});
  EXPECT_EQ(client("GETMSGS,"), Fields{""}) << "there, and empty";
  EXPECT_EQ(parse_command("SENDMSG,bob", Origin::kClient).field(1), "");
  EXPECT_EQ(parse_command("SENDMSG,bob", Origin::kClient).field(7), "");
}

TEST(TsamCommand, HeloTellsPeopleFromServersByItsForm) {
  EXPECT_EQ(form("HELO,A5_1"), Form::kComma);
  EXPECT_EQ(form("HELO bob"), Form::kWords);
  EXPECT_EQ(form("HELO"), Form::kBare);
  EXPECT_EQ(form("HELO  "), Form::kBare);
  EXPECT_EQ(client("HELO hi, it is me"), Fields{"hi, it is me"});
  EXPECT_EQ(client("HELO,A5_1,130.208.1.1,4001"), (Fields{"A5_1", "130.208.1.1,4001"}));
}

TEST(TsamCommand, KeepsTheRestOfWhatItDoesNotKnow) {
  const Command command = parse_command("Hello, how are you", Origin::kClient);
  EXPECT_EQ(command.verb, Verb::kUnknown);
  EXPECT_EQ(command.name, "Hello");
  EXPECT_EQ(fields(command), Fields{" how are you"});
}

TEST(TsamCommand, ErrorsAndAnswersHaveACodeAndTheRest) {
  EXPECT_EQ(server("ERROR,TOO_LONG,more than 5000, it was"),
            (Fields{"TOO_LONG", "more than 5000, it was"}));
  EXPECT_EQ(server("OK,SENDMSG,17"), (Fields{"SENDMSG", "17"}));
  EXPECT_EQ(server("STATUSRESP,A5_1,3,B,0"), (Fields{"A5_1", "3,B,0"}));
}

TEST(TsamCommand, AZeroByteEndsNothing) {
  const std::string text("SENDMSG,bob,a\0b", 15);
  EXPECT_EQ(client(text), (Fields{"bob", std::string("a\0b", 3)}));
  EXPECT_EQ(verb(std::string("LEAVE\0", 6)), Verb::kUnknown);
}

TEST(TsamCommand, ServersOfAListInTheirOrder) {
  std::string text;
  const std::vector<ServerEntry> entries = {
      {"A5_43", "127.0.0.1", 4000}, {"ORACLE", "::1", -1}, {"Instr_1", "130.208.243.61", 65535}};
  for (const ServerEntry& entry : entries) append_server(text, entry);
  EXPECT_EQ(text, "A5_43,127.0.0.1,4000;ORACLE,::1,-1;Instr_1,130.208.243.61,65535;");
  std::string_view list = text;
  for (const ServerEntry& entry : entries) EXPECT_EQ(take_server(list), entry);
  EXPECT_EQ(take_server(list), std::nullopt);
}

TEST(TsamCommand, EntriesThatAreNoneArePassedOver) {
  std::string_view list =
      ";;A,1.2.3.4;A,1.2.3.4,x;A,1.2.3.4,0;A,1.2.3.4,70000;A,1.2.3.4,1,2;,1.2.3.4,1;A b,1.2.3.4,1;"
      "A,,1;A,1.2.3 4,1;A,1.2.3.4,+1; B , 10.0.0.1 , 80 ;C,10.0.0.2,81";
  EXPECT_EQ(take_server(list), (ServerEntry{"B", "10.0.0.1", 80}));
  EXPECT_EQ(take_server(list), (ServerEntry{"C", "10.0.0.2", 81})) << "the last `;` may be missing";
  EXPECT_EQ(take_server(list), std::nullopt);
}

TEST(TsamCommand, CountsAreDigitsOnly) {
  EXPECT_EQ(parse_count("0"), 0U);
  EXPECT_EQ(parse_count("007"), 7U);
  EXPECT_EQ(parse_count("4294967295"), 4294967295U);
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "1x", "4294967296", "0x10"})
    EXPECT_EQ(parse_count(text), std::nullopt) << text;
}

TEST(TsamCommand, IdsAreShortAndPlain) {
  for (const char* text : {"A5_43", "Instr_1", "ORACLE", "7", "group-9", "a"})
    EXPECT_TRUE(is_id(text)) << text;
  EXPECT_TRUE(is_id(std::string(kLongestId, 'x')));
  EXPECT_FALSE(is_id(std::string(kLongestId + 1, 'x')));
  for (const char* text : {"", "a b", "a,b", "a;b", "a\n", "\x1b[0m", "Jón", "../x", "a.b"})
    EXPECT_FALSE(is_id(text)) << text;
  EXPECT_FALSE(is_id(std::string_view("a\0", 2)));
}

TEST(TsamCommand, ANumberIsNoNameToChoose) {
  EXPECT_TRUE(is_name("bob"));
  EXPECT_TRUE(is_name("4b"));
  EXPECT_FALSE(is_name("4"));
  EXPECT_FALSE(is_name(""));
}

TEST(TsamCommand, ComposesWhatItParses) {
  const std::string text = command_text({"SENDMSG", "bob", "A5_1", "a, b"});
  EXPECT_EQ(text, "SENDMSG,bob,A5_1,a, b");
  EXPECT_EQ(server(text), (Fields{"bob", "A5_1", "a, b"}));
  EXPECT_EQ(command_text({"LEAVE"}), "LEAVE");
}

TEST(TsamCommand, TakesFieldsOneByOne) {
  std::string_view rest = "A5_1,3,,B";
  EXPECT_EQ(take_field(rest), "A5_1");
  EXPECT_EQ(take_field(rest), "3");
  EXPECT_EQ(take_field(rest), "");
  EXPECT_EQ(take_field(rest), "B");
  EXPECT_EQ(take_field(rest), std::nullopt);
}

}  // namespace
}  // namespace serverd::tsam
