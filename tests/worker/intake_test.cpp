#include "worker/intake.h"

#include "tests/support/in_child.h"
#include "tests/support/service_rig.h"

#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include <sys/resource.h>

namespace serverd {
namespace {

using ledger::IntentState;
using test::ServiceRig;
using test::TcpPair;
using Outcome = Intake::Outcome;

const char* name_of(Outcome outcome) {
  constexpr const char* kNames[] = {"moved", "drained", "eof", "reset", "stalled", "blocked"};
  return kNames[static_cast<int>(outcome)];
}

/// Takes the first `prefix` bytes of a connection for protocol, the rest for payload.
class PrefixSession final : public Session {
 public:
  PrefixSession(const ledger::Slot& slot, Sink& sink, std::size_t prefix)
      : slot_(slot), sink_(sink), prefix_(prefix) {}

  Taken on_bytes(std::span<const std::byte> bytes, bool) noexcept override {
    const std::size_t seen = std::min<std::size_t>(slot_.bytes, prefix_);
    const std::size_t protocol = std::min(bytes.size(), prefix_ - seen);
    return {protocol, bytes.size() - protocol};
  }
  Sink* sink() noexcept override { return &sink_; }

 private:
  const ledger::Slot& slot_;
  Sink& sink_;
  std::size_t prefix_;
};

class IntakeTest : public testing::Test {
 protected:
  int fd() const { return pair_.server.get(); }
  void send(const std::string& text) {
    test::send_all(pair_.client.get(), text);
    ASSERT_TRUE(test::arrived(fd(), bytes_waiting_before_ + text.size()));
    bytes_waiting_before_ += text.size();
  }
  Intake::Result move(std::size_t limit = Intake::kChunkSize) {
    return move_with(*session_, limit);
  }
  Intake::Result move_with(Session& session, std::size_t limit = Intake::kChunkSize) {
    const Intake::Result result =
        rig_.intake->move_chunk(fd(), 0, session, Intake::More::kMayCome, limit);
    bytes_waiting_before_ -= result.bytes;
    return result;
  }
  void expect_moved(const Intake::Result& result, std::size_t bytes) {
    EXPECT_STREQ(name_of(result.outcome), "moved") << result.error.message();
    EXPECT_EQ(result.bytes, bytes);
  }
  void expect_counts(std::uint64_t bytes) {
    EXPECT_EQ(slot_.bytes, bytes);
    EXPECT_EQ(rig_.ledger.counters().bytes, bytes);
    EXPECT_EQ(bytes_taken_from(fd()), std::optional(bytes));
    EXPECT_EQ(rig_.ledger.intent().state, IntentState::kNone);
  }

  ServiceRig rig_;
  TcpPair pair_ = test::tcp_pair();
  ledger::Slot& slot_ = rig_.enter(0, pair_.server.get());
  std::unique_ptr<Session> session_ = rig_.service->open(slot_);
  std::size_t bytes_waiting_before_ = 0;
};

TEST_F(IntakeTest, StoresExactlyWhatArrived) {
  const std::string sent = test::stream_bytes(50'000, 1);
  send(sent);
  expect_moved(move(), sent.size());
  EXPECT_EQ(rig_.only_file(), sent);
  expect_counts(sent.size());
  EXPECT_EQ(rig_.ledger.output().committed, sent.size());
}

TEST_F(IntakeTest, StoresZeroBytesAndLineEndsAsTheyAre) {
  const std::string sent("\0\r\n\xff\0", 5);
  send(sent);
  expect_moved(move(), 5);
  EXPECT_EQ(rig_.only_file(), sent);
}

TEST_F(IntakeTest, TakesNoMoreThanTheLimit) {
  send("0123456789");
  expect_moved(move(4), 4);
  expect_moved(move(4), 4);
  expect_moved(move(4), 2);
  EXPECT_EQ(rig_.only_file(), "0123456789");
}

TEST_F(IntakeTest, TakesNoMoreThanAChunk) {
  rig_.die(1000);
  session_ = rig_.service->resume(slot_);
  const std::string sent = test::stream_bytes(2500, 2);
  send(sent);
  for (const std::size_t expected : {1000, 1000, 500}) expect_moved(move(), expected);
  EXPECT_EQ(rig_.only_file(), sent);
  expect_counts(2500);
}

TEST(WholeBlocks, FewBytesAreTakenAsTheyAre) {
  EXPECT_EQ(whole_blocks(0, 1), 1U);
  EXPECT_EQ(whole_blocks(100, 65'536), 65'536U);
  EXPECT_EQ(whole_blocks(1, 524'287), 524'287U);
}

TEST(WholeBlocks, ManyEndOnAMultipleOf64KiBOfTheFile) {
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{65'535},
                                     std::uint64_t{65'536}, std::uint64_t{5'000'000'001}})
    for (const std::size_t size : {524'288U, 524'289U, 1'000'000U, 2'097'152U}) {
      const std::size_t taken = whole_blocks(offset, size);
      EXPECT_EQ((offset + taken) % 65'536, 0U) << offset << ' ' << size;
      EXPECT_LE(taken, size);
      EXPECT_GT(taken, size - 65'536);
    }
}

TEST_F(IntakeTest, AQuietConnectionIsDrained) {
  EXPECT_STREQ(name_of(move().outcome), "drained");
  send("x");
  expect_moved(move(), 1);
  EXPECT_STREQ(name_of(move().outcome), "drained");
  expect_counts(1);
}

TEST_F(IntakeTest, TheEndComesAfterTheLastByte) {
  send("all of it");
  ASSERT_EQ(::shutdown(pair_.client.get(), SHUT_WR), 0);
  ASSERT_TRUE(test::ended(fd()));
  expect_moved(move(), 9);
  EXPECT_STREQ(name_of(move().outcome), "eof");
  EXPECT_EQ(rig_.only_file(), "all of it");
  expect_counts(9);
}

TEST_F(IntakeTest, AConnectionWithoutBytesEndsToo) {
  pair_.client.reset();
  ASSERT_TRUE(test::ended(fd()));
  EXPECT_STREQ(name_of(move().outcome), "eof");
  EXPECT_EQ(rig_.only_file(), "");
}

TEST_F(IntakeTest, WhatWasQueuedBeforeAResetIsStored) {
  const std::string sent = test::stream_bytes(5000, 3);
  send(sent);
  test::reset_connection(pair_.client);
  ASSERT_TRUE(test::wait_for(fd(), 0));
  expect_moved(move(), sent.size());
  const Intake::Result result = move();
  EXPECT_STREQ(name_of(result.outcome), "reset");
  EXPECT_EQ(result.error, std::errc::connection_reset) << result.error.message();
  EXPECT_EQ(rig_.only_file(), sent);
  expect_counts(sent.size());
}

TEST_F(IntakeTest, UrgentDataIsPartOfTheStream) {
  send("before");
  ASSERT_EQ(::send(pair_.client.get(), "!", 1, MSG_OOB), 1);
  bytes_waiting_before_ += 1;
  send("after");
  while (move().outcome == Outcome::kMoved) continue;
  EXPECT_EQ(rig_.only_file(), "before!after");
  expect_counts(12);
}

TEST_F(IntakeTest, TwoConnectionsShareAFileInTheOrderOfTheirChunks) {
  TcpPair other = test::tcp_pair();
  ledger::Slot& other_slot = rig_.enter(1, other.server.get());
  const auto other_session = rig_.service->open(other_slot);
  send("aaa");
  expect_moved(move(), 3);
  test::send_all(other.client.get(), "bb");
  ASSERT_TRUE(test::arrived(other.server.get(), 2));
  expect_moved(rig_.intake->move_chunk(other.server.get(), 1, *other_session), 2);
  send("AAA");
  expect_moved(move(), 3);
  EXPECT_EQ(rig_.only_file(), "aaabbAAA");
  EXPECT_EQ(slot_.bytes, 6U);
  EXPECT_EQ(other_slot.bytes, 2U);
  EXPECT_EQ(rig_.ledger.counters().bytes, 8U);
}

TEST_F(IntakeTest, WhileTheOutputCannotBeOpenedBytesStayInTheSocket) {
  rig_.config.output = rig_.dir / "later";
  rig_.ledger.output().state = ledger::FileState::kNone;
  rig_.die();
  session_ = rig_.service->open(slot_);
  send("patience");
  for (int i = 0; i < 3; ++i) {
    const Intake::Result result = move();
    EXPECT_STREQ(name_of(result.outcome), "stalled");
    EXPECT_EQ(result.bytes, 0U);
    EXPECT_EQ(result.error, std::errc::no_such_file_or_directory) << result.error.message();
    expect_counts(0);
  }
  std::filesystem::create_directory(rig_.dir / "later");
  expect_moved(move(), 8);
  expect_counts(8);
  EXPECT_EQ(test::file_content(session_->sink()->path()), "patience");
}

TEST_F(IntakeTest, APartialWriteIsCommittedAndTheRestStaysInTheSocket) {
  send("0123456789");
  const std::string said = test::in_child([&] {
    // RLIMIT_FSIZE stands for a full disk.
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4, 4};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Intake::Result first = move();
    const Intake::Result second = move();
    return std::string(name_of(first.outcome)) + " " + std::to_string(first.bytes) + " " +
           first.error.message() + ", " + name_of(second.outcome) + " " +
           std::to_string(second.bytes);
  });
  EXPECT_EQ(said, "stalled 4 File too large, stalled 0");
  expect_counts(4);
  EXPECT_EQ(rig_.only_file(), "0123");
  expect_moved(move(), 6);
  EXPECT_EQ(rig_.only_file(), "0123456789");
  expect_counts(10);
}

TEST_F(IntakeTest, AProtocolPrefixIsTakenFromTheSocketAndNotStored) {
  PrefixSession session(slot_, *session_->sink(), 6);
  send("HEADERpayload");
  expect_moved(move_with(session), 13);
  EXPECT_EQ(rig_.only_file(), "payload");
  EXPECT_EQ(rig_.ledger.output().committed, 7U);
  expect_counts(13);
}

TEST_F(IntakeTest, AChunkOfProtocolAloneNeedsNoFile) {
  PrefixSession session(slot_, *session_->sink(), 6);
  send("HEAD");
  expect_moved(move_with(session), 4);
  send("ERpayload");
  expect_moved(move_with(session), 9);
  EXPECT_EQ(rig_.only_file(), "payload");
  expect_counts(13);
}

TEST_F(IntakeTest, WhenNothingCanBeWrittenTheProtocolPrefixIsStillTaken) {
  PrefixSession session(slot_, *session_->sink(), 6);
  send("HEADERpayload");
  EXPECT_EQ(test::in_child([&]() -> std::string {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{0, 0};
              ::setrlimit(RLIMIT_FSIZE, &limit);
              return name_of(move_with(session).outcome);
            }),
            "stalled");
  expect_counts(6);
  EXPECT_EQ(rig_.only_file(), "");
  expect_moved(move_with(session), 7);
  EXPECT_EQ(rig_.only_file(), "payload");
}

/// Leaves bytes behind the first line.
class FirstLineSession final : public Session {
 public:
  explicit FirstLineSession(Sink& sink) : sink_(sink) {}
  Taken on_bytes(std::span<const std::byte> bytes, bool) noexcept override {
    for (std::size_t i = 0; i < bytes.size(); ++i)
      if (bytes[i] == std::byte{'\n'}) return {0, i + 1};
    return {};
  }
  Sink* sink() noexcept override { return &sink_; }

 private:
  Sink& sink_;
};

TEST_F(IntakeTest, WhatASessionLeavesStaysInTheSocket) {
  FirstLineSession session(*session_->sink());
  send("one\ntwo");
  expect_moved(move_with(session), 4);
  expect_counts(4);
  EXPECT_STREQ(name_of(move_with(session).outcome), "drained") << "it wants more";
  send("!\n");
  expect_moved(move_with(session), 5);
  EXPECT_EQ(rig_.only_file(), "one\ntwo!\n");
  expect_counts(9);
}

/// Has room for four bytes, once.
class NoRoomSession final : public Session {
 public:
  Taken on_bytes(std::span<const std::byte> bytes, bool) noexcept override {
    return {std::exchange(room_, 0U), 0, bytes.size() > 4};
  }

 private:
  std::size_t room_ = 4;
};

TEST_F(IntakeTest, WhatASessionHasNoRoomForStaysInTheSocketAndIsSaid) {
  NoRoomSession session;
  send("0123456789");
  const Intake::Result first = move_with(session);
  EXPECT_STREQ(name_of(first.outcome), "blocked");
  EXPECT_EQ(first.bytes, 4U);
  EXPECT_EQ(first.held, 6U);
  expect_counts(4);
  const Intake::Result second = move_with(session);
  EXPECT_STREQ(name_of(second.outcome), "blocked");
  EXPECT_EQ(second.bytes, 0U);
  expect_counts(4);
  EXPECT_EQ(rig_.only_file(), "");
}

TEST_F(IntakeTest, DiscardingMoreThanThereIsFailsAndTakesWhatThereIs) {
  send("12345");
  EXPECT_TRUE(Intake::discard(fd(), 2));
  EXPECT_FALSE(Intake::discard(fd(), 100));
  EXPECT_EQ(bytes_waiting_in(fd()), 0U);
}

}  // namespace
}  // namespace serverd
