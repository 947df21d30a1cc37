#include "worker/chat/chat_store.h"

#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace serverd::chat {
namespace {

class ChatStoreTest : public testing::Test {
 protected:
  ChatStoreTest() { reopen(); }
  void reopen() {
    store_.reset();
    store_.emplace(path_);
  }
  ChatStore& store() { return *store_; }

  void add(MailboxId mailbox, std::uint64_t id, const std::string& content,
           std::int64_t stored_at = 100) {
    store().add_message(mailbox, {id, "ann", content, stored_at});
  }
  std::vector<std::string> waiting(MailboxId mailbox, std::uint64_t from = 0,
                                   std::uint64_t to = 1000) {
    std::vector<std::string> found;
    store().for_each_waiting(mailbox, from, to, [&](const MessageRow& row) {
      found.push_back(std::to_string(row.id) + " " + std::string(row.content));
      return true;
    });
    return found;
  }
  using Texts = std::vector<std::string>;

  test::TempDir dir_;
  std::string path_ = dir_ / "chat.db";
  std::optional<ChatStore> store_;
};

TEST_F(ChatStoreTest, WhatIsCommittedIsThereForTheNext) {
  const MailboxId bob = store().add_mailbox("bob", false, 7);
  add(bob, 1, "one");
  add(bob, 2, "two");
  store().count_messages(2);
  EXPECT_TRUE(store().changed());
  ASSERT_FALSE(store().commit());
  EXPECT_FALSE(store().changed());
  reopen();
  EXPECT_EQ(waiting(bob), (Texts{"1 one", "2 two"}));
  EXPECT_EQ(store().next_message_id(), 3U);
  const auto mailboxes = store().mailboxes();
  ASSERT_EQ(mailboxes.size(), 1U);
  EXPECT_EQ(mailboxes[0].name, "bob");
  EXPECT_EQ(mailboxes[0].seen, 7);
  EXPECT_EQ(mailboxes[0].messages, 2U);
  EXPECT_EQ(mailboxes[0].waiting, 2U);
}

TEST_F(ChatStoreTest, WhatIsNotCommittedIsNot) {
  const MailboxId bob = store().add_mailbox("bob", false, 7);
  add(bob, 1, "one");
  reopen();
  EXPECT_TRUE(store().mailboxes().empty());
  EXPECT_EQ(store().next_message_id(), 1U);
}

TEST_F(ChatStoreTest, ATransactionThatFailsLeavesNothing) {
  const MailboxId bob = store().add_mailbox("bob", false, 7);
  add(bob, 1, "one");
  ASSERT_FALSE(store().commit());
  add(bob, 2, "two");
  add(bob, 1, "the same id again");
  add(bob, 3, "three");
  const std::error_code error = store().commit();
  EXPECT_TRUE(error);
  EXPECT_EQ(error.message(), "constraint failed");
  EXPECT_EQ(waiting(bob), Texts{"1 one"});
  add(bob, 2, "and goes on");
  EXPECT_FALSE(store().commit());
  EXPECT_EQ(waiting(bob), (Texts{"1 one", "2 and goes on"}));
}

TEST_F(ChatStoreTest, ContentIsAnyBytes) {
  const std::string bytes("\0\x01\xff,\n'", 6);
  add(-4, 1, bytes);
  add(-4, 2, "");
  EXPECT_EQ(waiting(-4), (Texts{"1 " + bytes, "2 "}));
}

TEST_F(ChatStoreTest, WhatIsOnItsWayDoesNotWait) {
  add(1, 1, "one");
  add(1, 2, "two");
  store().mark_message(1, 1, 99, 500);
  EXPECT_EQ(waiting(1), Texts{"2 two"});
  const auto under_way = store().on_the_way(99);
  ASSERT_EQ(under_way.size(), 1U);
  EXPECT_EQ(under_way[0].id, 1U);
  EXPECT_EQ(under_way[0].sent_at, 500U);
  store().mark_message(1, 1, 0, 0);
  EXPECT_EQ(waiting(1), (Texts{"1 one", "2 two"}));
}

TEST_F(ChatStoreTest, AMailboxIsReadInParts) {
  for (std::uint64_t id = 1; id <= 5; ++id) add(1, id, "x");
  add(2, 6, "another's");
  EXPECT_EQ(waiting(1, 2, 4), (Texts{"2 x", "3 x"}));
  int seen = 0;
  store().for_each_waiting(1, 0, 1000, [&](const MessageRow&) { return ++seen < 2; });
  EXPECT_EQ(seen, 2);
  store().remove_message(1, 3);
  EXPECT_EQ(waiting(1, 2, 5), (Texts{"2 x", "4 x"}));
  store().remove_messages(1);
  EXPECT_EQ(waiting(1), Texts{});
}

TEST_F(ChatStoreTest, OldMessagesExpireUnlessTheyAreOnTheirWay) {
  add(1, 1, "old", 10);
  add(1, 2, "under way", 10);
  add(1, 3, "old", 19);
  add(1, 4, "young", 20);
  store().mark_message(1, 2, 99, 5);
  EXPECT_EQ(store().expire_messages(1, 20), 2U);
  EXPECT_EQ(waiting(1), Texts{"4 young"});
  EXPECT_EQ(store().on_the_way(99).size(), 1U);
  EXPECT_EQ(store().expire_messages(1, 20), 0U);
}

TEST_F(ChatStoreTest, ASessionComesBackAsItWas) {
  const SessionRow row{1U << 31, 12, 34, 2, true, true, false, true, 5, 4000, 6, 7, 8, 9, "SEN"};
  store().save_session({row.cookie});
  store().save_session(row);
  store().add_output(row.cookie, 20, "abcd");
  store().add_output(row.cookie, 24, "efghij");
  store().add_output(7, 0, "another's");
  ASSERT_FALSE(store().commit());
  reopen();
  ASSERT_EQ(store().sessions().size(), 1U);
  EXPECT_EQ(store().sessions()[0], row);
  EXPECT_EQ(store().outputs(row.cookie).size(), 2U);
  store().remove_outputs(row.cookie, 29);
  ASSERT_EQ(store().outputs(row.cookie).size(), 1U) << "one that is not over stays whole";
  EXPECT_EQ(store().outputs(row.cookie)[0].start, 24U);
  EXPECT_EQ(store().outputs(row.cookie)[0].bytes, "efghij");
  store().remove_session(row.cookie);
  EXPECT_TRUE(store().sessions().empty());
  EXPECT_TRUE(store().outputs(row.cookie).empty());
  EXPECT_EQ(store().outputs(7).size(), 1U);
}

TEST_F(ChatStoreTest, MessagesForNumbersAreFound) {
  add(-7, 1, "x");
  const auto found = store().mailboxes();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].id, -7);
  EXPECT_EQ(found[0].waiting, 1U);
}

TEST(ChatStore, MayBeOfMemoryOnly) {
  ChatStore store(":memory:");
  store.add_message(1, {1, "ann", "hi", 5});
  EXPECT_FALSE(store.commit());
}

TEST(ChatStore, AFileThatIsNoDatabaseIsNotTouched) {
  const test::TempDir dir;
  test::write_file(dir / "chat.db", std::string(5000, 'x'));
  EXPECT_THROW(ChatStore(dir / "chat.db"), std::system_error);
  EXPECT_EQ(test::file_content(dir / "chat.db"), std::string(5000, 'x'));
}

TEST(ChatStore, ADirectoryThatIsNotThereIsNamed) {
  const test::TempDir dir;
  try {
    ChatStore store(dir / "none/chat.db");
    FAIL() << "opened";
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string(error.what()).find(dir / "none/chat.db"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace serverd::chat
