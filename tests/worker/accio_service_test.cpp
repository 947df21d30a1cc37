#include "worker/accio/accio_service.h"

#include "tests/support/accio_rig.h"
#include "tests/support/in_child.h"
#include "tests/support/service_rig.h"
#include "worker/recover.h"

#include <gtest/gtest.h>

#include <csignal>
#include <ostream>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>

namespace serverd {
namespace {

using ledger::IntentState;
using ledger::Slot;
using ledger::SlotState;
using test::accio_due;
using test::AccioDue;
using test::AccioRig;
using test::kAccioConfirms;
using test::kAccioConfirmsOnce;
using test::TcpPair;
using Names = std::vector<std::string>;
using Outcome = Intake::Outcome;

/// One client of the service, on a connection of its own, in slot 0.
class AccioClient {
 public:
  explicit AccioClient(AccioHandshake handshake = AccioHandshake::kAuto,
                       bool replace_existing = false)
      : rig_(handshake, replace_existing) {}

 protected:
  int fd() const { return pair_.server.get(); }
  Slot& slot() const { return rig_.ledger.slots()[0]; }

  void accept() { session_ = rig_.service->open(rig_.fill(0, socket_cookie(fd()))); }

  void send(std::string_view bytes) {
    test::send_all(pair_.client.get(), bytes);
    sent_ += bytes;
    ASSERT_TRUE(test::arrived(fd(), sent_.size() - slot().bytes));
  }
  void finish() {
    ASSERT_EQ(::shutdown(pair_.client.get(), SHUT_WR), 0);
    ASSERT_TRUE(test::ended(fd()));
    ended_ = true;
  }

  /// Moves what has arrived, as a connection does; gives what stopped it.
  Outcome move_everything() {
    for (;;) {
      const auto result = rig_.intake->move_chunk(
          fd(), 0, *session_, ended_ ? Intake::More::kNever : Intake::More::kMayCome);
      if (result.outcome != Outcome::kMoved) return result.outcome;
    }
  }

  /// The worker is dead; its successor takes the connection over.
  Recovery die_and_recover() {
    session_.reset();
    rig_.die();
    std::vector<UniqueFd> connections;
    connections.push_back(duplicate(fd()));
    Recovery recovery = recover(rig_.ledger, *rig_.service, std::move(connections));
    if (recovery.resumed.size() == 1) session_ = std::move(recovery.resumed.front().session);
    return recovery;
  }

  void expect_due(const std::string& why) {
    const AccioDue due = accio_due(sent_, rig_.config.handshake);
    EXPECT_EQ(rig_.file(1), due.file) << why;
    EXPECT_EQ(test::all_output(*session_), due.greetings) << why;
    EXPECT_EQ(rig_.dir.names(), Names{"1.file"}) << why;
    EXPECT_EQ(bytes_taken_from(fd()), std::optional<std::uint64_t>(sent_.size())) << why;
    EXPECT_EQ(slot().bytes, sent_.size()) << why;
    EXPECT_EQ(rig_.ledger.counters().bytes, sent_.size()) << why;
    EXPECT_EQ(rig_.ledger.counters().out_of_step, 0U) << why;
  }

  AccioRig rig_;
  TcpPair pair_ = test::tcp_pair();
  std::unique_ptr<Session> session_;
  std::string sent_;
  bool ended_ = false;
};

/// What clients send before they finish.
std::vector<std::string> clients() {
  const std::string both(kAccioConfirms);
  const std::string once(kAccioConfirmsOnce);
  return {"",
          "x",
          "a file\r\n",
          both,
          both + "a file",
          both + both + "twice",
          both + once,
          once,
          once + "not the second one",
          once + once,
          both.substr(0, 7),
          both.substr(0, both.size() - 1),
          both.substr(0, both.size() - 1) + "x",
          both + std::string("\0\xff\r\n\0", 5)};
}

std::vector<AccioHandshake> handshakes() {
  return {AccioHandshake::kAuto, AccioHandshake::kNone, AccioHandshake::kRequired};
}

TEST(AccioSession, StoresTheFileWhereverTheStreamIsSplit) {
  for (const AccioHandshake handshake : handshakes()) {
    for (const std::string& stream : clients()) {
      for (std::size_t split = 0; split <= stream.size();
           split += handshake == AccioHandshake::kAuto ? 1 : 4) {
        struct Run : AccioClient {
          using AccioClient::AccioClient;
          void run(const std::string& stream, std::size_t split) {
            accept();
            send(stream.substr(0, split));
            move_everything();
            send(stream.substr(split));
            move_everything();
            finish();
            EXPECT_EQ(move_everything(), Outcome::kEof);
            expect_due(testing::PrintToString(stream) + " split at " + std::to_string(split));
          }
        };
        Run(handshake).run(stream, split);
      }
    }
  }
}

TEST(AccioSession, StoresTheFileThatComesByteByByte) {
  for (const std::string& stream : clients()) {
    struct Run : AccioClient {
      void run(const std::string& stream) {
        accept();
        for (const char byte : stream) {
          send(std::string(1, byte));
          move_everything();
        }
        finish();
        EXPECT_EQ(move_everything(), Outcome::kEof);
        expect_due(testing::PrintToString(stream) + " byte by byte");
      }
    };
    Run().run(stream);
  }
}

/// Where in the procedure for one chunk the worker was killed: the last thing that it did.
enum class Killed {
  kBefore,
  kInterpreted,
  kIntentNoted,
  kHalfInFile,
  kAllInFile,
  kStored,
  kWritten,
  kSlotCounted,
  kPortCounted,
  kCommitted,
  kHalfDiscarded,
  kDiscarded,
  kIntentForgotten,
  kCount
};

class KilledClient : public AccioClient {
 public:
  using AccioClient::AccioClient;

  /// The client's stream in two parts; the worker is killed at `killed` in the chunk that begins
  /// when the second has come.
  void run(const std::string& stream, std::size_t split, bool fin, Killed killed) {
    accept();
    send(stream.substr(0, split));
    move_everything();
    send(stream.substr(split));
    if (fin) finish();
    chunk_until(killed);
    const Recovery recovery = die_and_recover();
    ASSERT_EQ(recovery.resumed.size(), 1U);
    if (!ended_) {
      move_everything();
      finish();
    }
    EXPECT_EQ(move_everything(), Outcome::kEof);
    expect_due(testing::PrintToString(stream) + " split at " + std::to_string(split) +
               (fin ? " with its end" : "") + ", killed after step " +
               std::to_string(static_cast<int>(killed)));
  }

 private:
  /// The steps of Intake::move_chunk, up to and with `last`.
  void chunk_until(Killed last) {
    if (last == Killed::kBefore) return;
    Intake& intake = *rig_.intake;
    std::string bytes(1000, '\0');
    const ssize_t n = ::recv(fd(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    if (n <= 0) return;
    bytes.resize(static_cast<std::size_t>(n));
    const auto shown = std::as_bytes(std::span(bytes));
    const Taken taken = session_->on_bytes(shown, ended_);
    const std::size_t all = taken.protocol + taken.payload;
    if (last == Killed::kInterpreted || all == 0) return;
    Intake::Chunk chunk{0, shown.subspan(taken.protocol, taken.payload), taken.protocol,
                        taken.protocol};
    Sink* sink = taken.payload > 0 ? session_->sink() : nullptr;
    if (sink != nullptr) {
      ASSERT_FALSE(sink->open());
    }
    intake.note_intent(chunk, sink != nullptr ? sink->committed() : 0);
    if (last == Killed::kHalfInFile && sink != nullptr)
      sink->append(chunk.payload.first(chunk.payload.size() / 2));
    if (last == Killed::kAllInFile && sink != nullptr) sink->append(chunk.payload);
    if (last < Killed::kStored) return;
    if (sink != nullptr) {
      ASSERT_FALSE(intake.store(chunk, *sink));
    }
    if (last < Killed::kWritten) return;
    rig_.ledger.intent().state = IntentState::kWritten;
    if (last >= Killed::kSlotCounted) slot().bytes += all;
    if (last >= Killed::kPortCounted) rig_.ledger.counters().bytes += all;
    if (last >= Killed::kCommitted) intake.commit(chunk, sink);
    if (last >= Killed::kHalfDiscarded) {
      ASSERT_TRUE(Intake::discard(fd(), all / 2));
    }
    if (last >= Killed::kDiscarded) {
      ASSERT_TRUE(Intake::discard(fd(), all - all / 2));
    }
    if (last >= Killed::kIntentForgotten) intake.forget_intent();
  }
};

class AccioKilledAt : public testing::TestWithParam<int> {};

TEST_P(AccioKilledAt, TheFileIsExactAndEveryGreetingIsDueOnce) {
  const Killed killed = static_cast<Killed>(GetParam());
  for (const AccioHandshake handshake : handshakes())
    for (const std::string& stream : clients())
      for (std::size_t split = 0; split <= stream.size(); split += 15)
        for (const bool fin : {false, true})
          KilledClient(handshake).run(stream, split, fin, killed);
}

INSTANTIATE_TEST_SUITE_P(Steps, AccioKilledAt, testing::Range(0, static_cast<int>(Killed::kCount)));

class AccioTest : public AccioClient, public testing::Test {};

TEST_F(AccioTest, TheFileIsThereFromTheBeginning) {
  accept();
  EXPECT_EQ(rig_.dir.names(), Names{"1.file"});
  EXPECT_EQ(rig_.file(1), "");
}

TEST_F(AccioTest, WhatArrivedBeforeAResetStays) {
  accept();
  send("confirm-accio\r\nconf");
  move_everything();
  test::reset_connection(pair_.client);
  ASSERT_TRUE(test::wait_for(fd(), 0));
  ended_ = true;
  EXPECT_EQ(move_everything(), Outcome::kReset);
  EXPECT_EQ(rig_.file(1), "confirm-accio\r\nconf");
}

TEST_F(AccioTest, AFileMuchLongerThanAChunkIsExact) {
  rig_.intake = std::make_unique<Intake>(rig_.ledger, 1000);
  accept();
  const std::string file = test::stream_bytes(25'300, 5);
  send(std::string(kAccioConfirms) + file);
  finish();
  EXPECT_EQ(move_everything(), Outcome::kEof);
  EXPECT_TRUE(rig_.file(1) == file);
}

// ERROR

TEST_F(AccioTest, ASilentClientLeavesNothingButError) {
  for (const std::string before : {"", "conf", "a long file that was on its way"}) {
    accept();
    const std::uint64_t number = slot().id;
    test::send_all(pair_.client.get(), before);
    ASSERT_TRUE(test::arrived(fd(), before.size()));
    move_everything();
    session_->on_idle();
    EXPECT_EQ(rig_.file(number), "ERROR") << "after '" << before << "'";
    Intake::discard(fd(), bytes_waiting_in(fd()));
  }
}

TEST_F(AccioTest, WhatComesAfterAnErrorIsDiscarded) {
  accept();
  send("beginning");
  move_everything();
  session_->on_idle();
  send(", and more");
  EXPECT_EQ(move_everything(), Outcome::kDrained);
  EXPECT_EQ(rig_.file(1), "ERROR");
  EXPECT_EQ(slot().bytes, sent_.size());
}

TEST_F(AccioTest, AnErrorOutlivesTheWorker) {
  accept();
  send("a file on its way");
  move_everything();
  session_->on_idle();
  // Killed when only a part of the replacement was done.
  const std::string path = rig_.dir / "1.file";
  for (const std::string content : {"a file on its way", "", "ERR", "ERROR"}) {
    test::write_file(path, content);
    for (const std::uint64_t committed : {17, 0, 5}) {
      slot().file.committed = committed;
      die_and_recover();
      EXPECT_EQ(rig_.file(1), "ERROR") << "after '" << content << "', committed " << committed;
    }
  }
  send(", and more");
  EXPECT_EQ(move_everything(), Outcome::kDrained);
  EXPECT_EQ(rig_.file(1), "ERROR");
}

TEST(AccioSession, AnUnconfirmedFileIsAnErrorWhereConfirmationIsRequired) {
  struct Run : AccioClient {
    using AccioClient::AccioClient;
    void run() {
      accept();
      send("a file");
      EXPECT_EQ(move_everything(), Outcome::kDrained);
      EXPECT_EQ(rig_.file(1), "ERROR");
      send(" that goes on");
      finish();
      EXPECT_EQ(move_everything(), Outcome::kEof);
      expect_due("not confirmed");
    }
  };
  Run(AccioHandshake::kRequired).run();
}

// A disk that takes nothing

TEST_F(AccioTest, OnAFullDiskTheHandshakeIsOverAndTheFileWaits) {
  accept();
  const std::string stream = std::string(kAccioConfirms) + "0123456789";
  send(stream);
  EXPECT_EQ(test::in_child([&] {
              // RLIMIT_FSIZE stands for a full disk.
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{4, 4};
              ::setrlimit(RLIMIT_FSIZE, &limit);
              const Outcome outcome = move_everything();
              return std::string(outcome == Outcome::kStalled ? "stalled" : "not stalled");
            }),
            "stalled");
  EXPECT_EQ(rig_.file(1), "0123");
  EXPECT_EQ(slot().bytes, kAccioConfirms.size() + 4);
  die_and_recover();
  finish();
  EXPECT_EQ(move_everything(), Outcome::kEof);
  expect_due("after a full disk");
}

TEST_F(AccioTest, AFileThatCouldNotBeMadeAtOnceIsMadeLater) {
  const std::string away = rig_.dir.path() + "-away";
  std::filesystem::rename(rig_.dir.path(), away);
  accept();
  send("patience");
  EXPECT_EQ(move_everything(), Outcome::kStalled);
  EXPECT_EQ(slot().bytes, 0U);
  std::filesystem::rename(away, rig_.dir.path());
  finish();
  EXPECT_EQ(move_everything(), Outcome::kEof);
  expect_due("the directory is back");
}

TEST_F(AccioTest, AFileThatCouldNotBeMadeBeforeTheEndIsMadeAtTheEnd) {
  const std::string away = rig_.dir.path() + "-away";
  std::filesystem::rename(rig_.dir.path(), away);
  accept();
  std::filesystem::rename(away, rig_.dir.path());
  finish();
  EXPECT_EQ(move_everything(), Outcome::kEof);
  session_->on_end(ledger::Cause::kEof, {});
  expect_due("an empty file is due");
}

TEST_F(AccioTest, AFileThatCannotBeMadeAtAllIsSaid) {
  std::filesystem::remove_all(rig_.dir.path());
  accept();
  finish();
  EXPECT_EQ(move_everything(), Outcome::kEof);
  testing::internal::CaptureStderr();
  session_->on_end(ledger::Cause::kEof, {});
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("1.file cannot be created: No such file or directory"), std::string::npos)
      << log;
}

// Numbers

/// Accepts connections of which only the files matter.
class AccioNumbers : public testing::Test {
 protected:
  /// The connection in slot 0 ends, and the next comes.
  std::uint64_t next() {
    rig_->service->open(rig_->fill(0, 1));
    const std::uint64_t number = rig_->ledger.slots()[0].protocol[0];
    rig_->ledger.slots()[0].state = SlotState::kFree;
    return number;
  }
  /// A daemon that is started on what is in the directory.
  void start(bool replace_existing) {
    rig_->config.replace_existing = replace_existing;
    rig_->ledger.protocol_words()[0] = 0;
    rig_->die();
  }

  std::unique_ptr<AccioRig> rig_ = std::make_unique<AccioRig>();
};

TEST_F(AccioNumbers, CountConnectionsFromOne) {
  for (std::uint64_t number = 1; number <= 12; ++number) EXPECT_EQ(next(), number);
  EXPECT_EQ(rig_->dir.names().size(), 12U);
}

TEST_F(AccioNumbers, GoOnAfterAWorkersDeath) {
  EXPECT_EQ(next(), 1U);
  for (std::uint64_t number = 2; number <= 5; ++number) {
    rig_->die();
    EXPECT_EQ(next(), number);
  }
}

TEST_F(AccioNumbers, GoOnAfterAWorkersDeathWhateverIsInTheDirectory) {
  for (const bool replace_existing : {false, true}) {
    start(replace_existing);
    const std::uint64_t first = next();
    std::filesystem::remove(rig_->dir / (std::to_string(first) + ".file"));
    rig_->die();
    EXPECT_EQ(next(), first + 1) << "where old files are " << (replace_existing ? "" : "not ")
                                 << "replaced";
  }
}

TEST_F(AccioNumbers, GoOnAfterTheHighestInTheDirectory) {
  for (const char* name :
       {"3.file", "10.file", "2.file", "12.fil", "x13.file", "14.file~", "-15.file", "16.file.file",
        ".file", "file", "17", "0.file", "+18.file", " 19.file"})
    test::write_file(rig_->dir / name, "old");
  start(false);
  EXPECT_EQ(next(), 11U);
  EXPECT_EQ(next(), 12U);
  EXPECT_EQ(rig_->file(10), "old");
}

TEST_F(AccioNumbers, BeginAtOneWhereOldFilesAreReplaced) {
  test::write_file(rig_->dir / "1.file", "old");
  test::write_file(rig_->dir / "2.file", "old");
  start(true);
  EXPECT_EQ(next(), 1U);
  EXPECT_EQ(rig_->file(1), "");
  EXPECT_EQ(rig_->file(2), "old");
}

TEST_F(AccioNumbers, AReplacedFileIsANewOne) {
  test::write_file(rig_->dir / "1.file", "old");
  std::filesystem::create_hard_link(rig_->dir / "1.file", rig_->dir / "link");
  test::write_file(rig_->dir / "elsewhere", "not ours");
  std::filesystem::create_symlink("elsewhere", rig_->dir / "2.file");
  start(true);
  EXPECT_EQ(next(), 1U);
  EXPECT_EQ(next(), 2U);
  EXPECT_EQ(test::file_content(rig_->dir / "link"), "old");
  EXPECT_FALSE(std::filesystem::is_symlink(rig_->dir / "2.file"));
  EXPECT_EQ(test::file_content(rig_->dir / "elsewhere"), "not ours");
}

TEST_F(AccioNumbers, ANumberWhoseFileCameFromElsewhereIsPassedOver) {
  EXPECT_EQ(next(), 1U);
  test::write_file(rig_->dir / "2.file", "not ours");
  test::write_file(rig_->dir / "3.file", "");
  EXPECT_EQ(next(), 4U);
  EXPECT_EQ(rig_->file(2), "not ours");
  EXPECT_EQ(next(), 5U);
}

TEST_F(AccioNumbers, ADirectoryOfThatNameIsPassedOverEvenWhereFilesAreReplaced) {
  start(true);
  std::filesystem::create_directory(rig_->dir / "1.file");
  EXPECT_EQ(next(), 2U);
}

TEST_F(AccioNumbers, TheLargestNumberThereIsLeadsNowhere) {
  test::write_file(rig_->dir / "18446744073709551615.file", "old");
  test::write_file(rig_->dir / "18446744073709551616.file", "old");
  test::write_file(rig_->dir / "7.file", "old");
  start(false);
  EXPECT_EQ(next(), 8U);
}

/// How far an accept had come when the worker was killed.
enum class Accepted {
  kSlotFilled,
  kNumberTaken,
  kNumberCounted,
  kNameRecorded,
  kFileMade,
  kFileRecorded,
  kCount
};

class AccioAcceptKilledAt : public AccioClient, public testing::TestWithParam<int> {
 protected:
  void accept_until(Accepted last) {
    const std::uint64_t next = rig_.ledger.protocol_words()[0];
    Slot& slot = rig_.fill(0, socket_cookie(fd()));
    if (last >= Accepted::kNumberTaken) slot.protocol[0] = next;
    if (last >= Accepted::kNumberCounted) rig_.ledger.protocol_words()[0] = next + 1;
    const std::string name = std::to_string(next) + ".file";
    if (last >= Accepted::kNameRecorded) slot.file.begin(name);
    if (last >= Accepted::kFileMade) test::write_file(rig_.dir / name, "");
    if (last >= Accepted::kFileRecorded) slot.file.state = ledger::FileState::kOpen;
  }
};

TEST_P(AccioAcceptKilledAt, NoNumberIsRepeatedOrSkipped) {
  accept_until(static_cast<Accepted>(GetParam()));
  for (int i = 0; i < 3; ++i) die_and_recover();
  ASSERT_FALSE(session_->sink()->open());
  EXPECT_EQ(rig_.dir.names(), Names{"1.file"});
  const TcpPair other = test::tcp_pair();
  rig_.service->open(rig_.fill(1, socket_cookie(other.server.get())));
  EXPECT_EQ(rig_.dir.names(), (Names{"1.file", "2.file"}));
  send("whole");
  finish();
  EXPECT_EQ(move_everything(), Outcome::kEof);
  EXPECT_EQ(rig_.file(1), "whole");
}

TEST_P(AccioAcceptKilledAt, NoNumberIsRepeatedWhenTheConnectionIsLostToo) {
  accept_until(static_cast<Accepted>(GetParam()));
  rig_.die();
  EXPECT_EQ(recover(rig_.ledger, *rig_.service, {}).lost, 1U);
  rig_.service->open(rig_.fill(1, 1));
  const bool had_one = static_cast<Accepted>(GetParam()) >= Accepted::kNumberTaken;
  EXPECT_EQ(rig_.ledger.slots()[1].protocol[0], had_one ? 2U : 1U);
}

INSTANTIATE_TEST_SUITE_P(Steps, AccioAcceptKilledAt,
                         testing::Range(0, static_cast<int>(Accepted::kCount)));

}  // namespace
}  // namespace serverd
