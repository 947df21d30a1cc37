#include "worker/recover.h"

#include "tests/support/in_child.h"
#include "tests/support/service_rig.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

namespace serverd {
namespace {

using ledger::Cause;
using ledger::IntentState;
using ledger::Slot;
using ledger::SlotState;
using test::ServiceRig;
using test::TcpPair;

constexpr std::size_t kChunk = 1000;

/// Where in the procedure for one chunk the worker was killed: the last thing that it did.
enum class Killed {
  kBefore,
  kPeeked,
  kIntentNoted,
  kHalfInFile,
  kAllInFile,
  kStored,  ///< the intent knows how much was written
  kWritten,
  kSlotCounted,
  kPortCounted,
  kCommitted,
  kHalfDiscarded,
  kDiscarded,
  kIntentForgotten,
  kCount
};
constexpr const char* kKilledNames[] = {
    "Before",        "Peeked",    "IntentNoted",    "HalfInFile",  "AllInFile",
    "Stored",        "Written",   "SlotCounted",    "PortCounted", "Committed",
    "HalfDiscarded", "Discarded", "IntentForgotten"};
static_assert(std::size(kKilledNames) == static_cast<std::size_t>(Killed::kCount));

/// How the peer ended its stream, before the worker was killed.
enum class End { kOpen, kFin, kReset, kCount };
constexpr const char* kEndNames[] = {"Open", "Fin", "Reset"};

struct Peer {
  std::string sent;
  TcpPair pair = test::tcp_pair();
  std::unique_ptr<Session> session{};
  std::size_t moved = 0;  ///< bytes of `sent` that must be in the file
};

/// A port with two connections that have sent everything they will send.
class RecoverRig {
 protected:
  explicit RecoverRig(bool file_per_connection = false) : rig_(file_per_connection) {
    peers_.push_back({test::stream_bytes(2600, 1)});
    peers_.push_back({test::stream_bytes(1700, 2)});
    rig_.die(kChunk);
    for (std::uint32_t i = 0; i < peers_.size(); ++i)
      peers_[i].session = rig_.service->open(rig_.enter(i, fd(i)));
  }

  int fd(std::uint32_t index) const { return peers_[index].pair.server.get(); }
  Slot& slot(std::uint32_t index) const { return rig_.ledger.slots()[index]; }
  ledger::Counters& counters() const { return rig_.ledger.counters(); }

  void send_everything(End end = End::kOpen) {
    for (std::uint32_t i = 0; i < peers_.size(); ++i) {
      test::send_all(peers_[i].pair.client.get(), peers_[i].sent);
      ASSERT_TRUE(test::arrived(fd(i), peers_[i].sent.size()));
      if (end == End::kFin) {
        ::shutdown(peers_[i].pair.client.get(), SHUT_WR);
        ASSERT_TRUE(test::ended(fd(i)));
      } else if (end == End::kReset) {
        test::reset_connection(peers_[i].pair.client);
        ASSERT_TRUE(test::wait_for(fd(i), 0));
      }
    }
  }

  /// The next `size` bytes of a peer are stored now.
  void expect_stored(std::uint32_t index, std::size_t size) {
    Peer& peer = peers_[index];
    shared_ += peer.sent.substr(peer.moved, size);
    peer.moved += size;
  }

  bool move(std::uint32_t index) {
    const auto result = rig_.intake->move_chunk(fd(index), index, *peers_[index].session,
                                                Intake::More::kMayCome, kChunk);
    expect_stored(index, result.bytes);
    return result.outcome == Intake::Outcome::kMoved;
  }
  void move_everything() {
    for (bool more = true; more;) {
      more = false;
      for (std::uint32_t i = 0; i < peers_.size(); ++i) more = move(i) || more;
    }
  }

  /// The steps of Intake::move_chunk, up to and with `last`.
  void move_until(std::uint32_t index, Killed last) {
    std::string bytes(kChunk, '\0');
    const ssize_t n = ::recv(fd(index), bytes.data(), kChunk, MSG_PEEK | MSG_DONTWAIT);
    ASSERT_EQ(n, static_cast<ssize_t>(kChunk));
    Intake& intake = *rig_.intake;
    Sink& sink = *peers_[index].session->sink();
    const auto payload = std::as_bytes(std::span(bytes));
    Intake::Chunk chunk{index, payload, 0, 0};
    const auto offset = sink.committed();
    if (last >= Killed::kIntentNoted) {
      ASSERT_FALSE(sink.open());
      intake.note_intent(chunk, offset);
    }
    if (last == Killed::kHalfInFile) sink.append(payload.first(kChunk / 2));
    if (last == Killed::kAllInFile) sink.append(payload);
    if (last >= Killed::kStored) {
      ASSERT_FALSE(intake.store(chunk, sink));
    }
    if (last >= Killed::kWritten) {
      rig_.ledger.intent().state = IntentState::kWritten;
      expect_stored(index, kChunk);
    }
    if (last >= Killed::kSlotCounted) slot(index).bytes += kChunk;
    if (last >= Killed::kPortCounted) counters().bytes += kChunk;
    if (last >= Killed::kCommitted) intake.commit(chunk, &sink);
    if (last >= Killed::kHalfDiscarded) {
      ASSERT_TRUE(Intake::discard(fd(index), kChunk / 2));
    }
    if (last >= Killed::kDiscarded) {
      ASSERT_TRUE(Intake::discard(fd(index), kChunk / 2));
    }
    if (last >= Killed::kIntentForgotten) intake.forget_intent();
  }

  /// The worker is dead and its successor gets the connections in `surviving`.
  Recovery die_and_recover(const std::vector<std::uint32_t>& surviving, unsigned blame_after = 0) {
    for (Peer& peer : peers_) peer.session.reset();
    rig_.die(kChunk);
    std::vector<UniqueFd> connections;
    for (const std::uint32_t index : surviving)
      connections.push_back(duplicate(peers_[index].pair.server.get()));
    Recovery recovery = recover(rig_.ledger, *rig_.service, std::move(connections), blame_after);
    for (ResumedConnection& resumed : recovery.resumed)
      peers_.at(resumed.slot_index).session = std::move(resumed.session);
    return recovery;
  }

  void expect_files_exact() {
    for (std::uint32_t i = 0; i < peers_.size(); ++i) {
      EXPECT_EQ(slot(i).bytes, peers_[i].moved) << "slot " << i;
      if (!rig_.config.file_per_connection) continue;
      const std::string stored = test::file_content(rig_.dir / slot(i).file.file_name());
      EXPECT_TRUE(stored == peers_[i].sent.substr(0, peers_[i].moved))
          << "connection " << i << ": the file is not its stream";
    }
    if (!rig_.config.file_per_connection) {
      EXPECT_TRUE(rig_.only_file() == shared_) << "the shared file is not the two streams";
    }
    EXPECT_EQ(counters().bytes, shared_.size());
    EXPECT_EQ(rig_.ledger.intent().state, IntentState::kNone);
  }
  void expect_everything_stored() {
    for (const Peer& peer : peers_) EXPECT_EQ(peer.moved, peer.sent.size());
    expect_files_exact();
    EXPECT_EQ(counters().out_of_step, 0U);
  }

  ServiceRig rig_;
  std::vector<Peer> peers_;
  std::string shared_;  ///< what the shared file must hold
};

struct Place {
  Killed killed;
  bool own_files;
  End end;
};

std::ostream& operator<<(std::ostream& out, const Place& place) {
  return out << kKilledNames[static_cast<int>(place.killed)]
             << (place.own_files ? "OwnFile" : "SharedFile")
             << kEndNames[static_cast<int>(place.end)];
}

std::vector<Place> all_places() {
  std::vector<Place> places;
  for (int killed = 0; killed < static_cast<int>(Killed::kCount); ++killed)
    for (const bool own_files : {false, true})
      for (int end = 0; end < static_cast<int>(End::kCount); ++end)
        places.push_back({static_cast<Killed>(killed), own_files, static_cast<End>(end)});
  return places;
}

class RecoverAt : public RecoverRig, public testing::TestWithParam<Place> {
 protected:
  RecoverAt() : RecoverRig(GetParam().own_files) {}

  Killed killed() const { return GetParam().killed; }
  /// One chunk of each connection is stored, and the worker dies in the first one's second.
  void run_until_killed() {
    send_everything(GetParam().end);
    ASSERT_TRUE(move(0));
    ASSERT_TRUE(move(1));
    ASSERT_NO_FATAL_FAILURE(move_until(0, killed()));
  }
  bool torn() const { return killed() >= Killed::kHalfInFile && killed() <= Killed::kStored; }
  bool written() const { return killed() >= Killed::kWritten && killed() <= Killed::kDiscarded; }
};

TEST_P(RecoverAt, NothingIsLostOrDoubled) {
  ASSERT_NO_FATAL_FAILURE(run_until_killed());
  const Recovery recovery = die_and_recover({0, 1});
  EXPECT_EQ(recovery.resumed.size(), 2U);
  EXPECT_EQ(recovery.lost, 0U);
  EXPECT_TRUE(recovery.newcomers.empty());
  EXPECT_EQ(counters().torn_repaired, torn() ? 1U : 0U);
  EXPECT_EQ(counters().completed, written() ? 1U : 0U);
  expect_files_exact();
  move_everything();
  expect_everything_stored();
}

TEST_P(RecoverAt, ARecoveryThatIsItselfKilledIsRepeated) {
  ASSERT_NO_FATAL_FAILURE(run_until_killed());
  const IntentState state = rig_.ledger.intent().state;
  for (int i = 0; i < 3; ++i) {
    rig_.ledger.intent().state = state;  // forgetting it is the last thing that recovery does
    die_and_recover({0, 1});
    expect_files_exact();
  }
  move_everything();
  expect_everything_stored();
}

TEST_P(RecoverAt, WhenTheConnectionInHandIsLostTheFileHoldsNoTornBytes) {
  ASSERT_NO_FATAL_FAILURE(run_until_killed());
  const Recovery recovery = die_and_recover({1});
  EXPECT_EQ(recovery.lost, 1U);
  expect_files_exact();
  while (move(1)) continue;
  expect_files_exact();
  EXPECT_EQ(peers_[1].moved, peers_[1].sent.size());
}

INSTANTIATE_TEST_SUITE_P(Steps, RecoverAt, testing::ValuesIn(all_places()),
                         [](const auto& place) { return testing::PrintToString(place.param); });

class RecoverTest : public RecoverRig, public testing::Test {};

TEST_F(RecoverTest, AnEmptyLedgerHasNothingToRecover) {
  ServiceRig fresh;
  const Recovery recovery = recover(fresh.ledger, *fresh.service, {});
  EXPECT_TRUE(recovery.resumed.empty());
  EXPECT_TRUE(recovery.newcomers.empty());
  EXPECT_EQ(recovery.lost, 0U);
  EXPECT_TRUE(fresh.dir.names().empty());
}

TEST_F(RecoverTest, ASlotWithoutItsConnectionIsLostAndCounted) {
  send_everything();
  ASSERT_TRUE(move(0));
  const Recovery recovery = die_and_recover({});
  EXPECT_EQ(recovery.lost, 2U);
  EXPECT_EQ(counters().closed[static_cast<std::size_t>(Cause::kLost)], 2U);
  EXPECT_EQ(slot(0).state, SlotState::kFree);
  EXPECT_EQ(slot(1).state, SlotState::kFree);
  expect_files_exact();
}

TEST_F(RecoverTest, AConnectionThatWasBeingEndedIsNotLost) {
  send_everything();
  slot(0).state = SlotState::kClosing;
  const Recovery recovery = die_and_recover({1});
  EXPECT_EQ(recovery.lost, 0U);
  EXPECT_EQ(counters().closed[static_cast<std::size_t>(Cause::kLost)], 0U);
  EXPECT_EQ(slot(0).state, SlotState::kFree);
  EXPECT_EQ(slot(1).state, SlotState::kOpen);
}

TEST_F(RecoverTest, AConnectionThatWasBeingEndedAndSurvivedGoesOn) {
  send_everything(End::kFin);
  slot(0).state = SlotState::kClosing;
  EXPECT_EQ(die_and_recover({0, 1}).resumed.size(), 2U);
  EXPECT_EQ(slot(0).state, SlotState::kOpen);
  move_everything();
  expect_everything_stored();
}

TEST_F(RecoverTest, AConnectionWithoutASlotIsANewcomer) {
  const TcpPair pair = test::tcp_pair();
  std::vector<UniqueFd> connections;
  connections.push_back(duplicate(pair.server.get()));
  const Recovery recovery = recover(rig_.ledger, *rig_.service, std::move(connections));
  ASSERT_EQ(recovery.newcomers.size(), 1U);
  EXPECT_EQ(socket_cookie(recovery.newcomers.front().get()), socket_cookie(pair.server.get()));
  EXPECT_EQ(recovery.lost, 2U);
}

TEST_F(RecoverTest, BytesThatSomebodyElseTookAreSaid) {
  send_everything();
  ASSERT_TRUE(move(0));
  char stolen[10];
  ASSERT_EQ(::recv(fd(0), stolen, sizeof stolen, 0), 10);
  testing::internal::CaptureStderr();
  const Recovery recovery = die_and_recover({0, 1});
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(counters().out_of_step, 1U);
  EXPECT_EQ(recovery.resumed.size(), 2U) << "what is left of the stream is still saved";
  EXPECT_NE(log.find("1000 bytes stored, 1010 taken"), std::string::npos) << log;
}

TEST_F(RecoverTest, BytesThatWereStoredAndNotTakenOutsideOfAChunkAreSaid) {
  send_everything();
  slot(1).bytes = 7;  // no intent says why
  die_and_recover({0, 1});
  EXPECT_EQ(counters().out_of_step, 1U);
  EXPECT_EQ(bytes_taken_from(fd(1)), std::optional<std::uint64_t>(0)) << "and none is thrown away";
}

/// Knows by itself how much of a connection is safe.
struct CommittingService final : Service {
  std::unique_ptr<Session> open(Slot&) override { return nullptr; }
  std::unique_ptr<Session> resume(Slot&) override { return std::make_unique<StubSession>(); }
  void rotate() noexcept override {}
  std::error_code retry() noexcept override { return {}; }
  std::optional<std::uint64_t> committed_offset(const Slot&) noexcept override { return committed; }

  struct StubSession final : Session {
    Taken on_bytes(std::span<const std::byte>, bool) noexcept override { return {}; }
  };
  std::optional<std::uint64_t> committed;
};

TEST_F(RecoverTest, WhatAServiceHasCommittedIsTakenFromTheSocket) {
  send_everything();
  for (const std::uint64_t counted : {0U, 400U, 1000U}) {  // by the worker that died
    slot(0).bytes = counted;
    counters().bytes = counted;
    CommittingService service;
    service.committed = 1000;
    std::vector<UniqueFd> connections;
    connections.push_back(duplicate(fd(0)));
    recover(rig_.ledger, service, std::move(connections));
    EXPECT_EQ(slot(0).bytes, 1000U);
    EXPECT_EQ(counters().bytes, 1000U);
    EXPECT_EQ(bytes_taken_from(fd(0)), 1000U);
  }
  EXPECT_EQ(counters().out_of_step, 0U);
}

TEST_F(RecoverTest, BytesThatWereTakenBeforeTheirCommitAreSaid) {
  send_everything();
  ASSERT_TRUE(Intake::discard(fd(0), 10));
  CommittingService service;
  service.committed = 0;
  std::vector<UniqueFd> connections;
  connections.push_back(duplicate(fd(0)));
  recover(rig_.ledger, service, std::move(connections));
  EXPECT_EQ(counters().out_of_step, 1U);
}

TEST_F(RecoverTest, AnIntentForASlotThatDoesNotExistIsHarmless) {
  send_everything();
  ASSERT_TRUE(move(0));
  for (const IntentState state : {IntentState::kWriting, IntentState::kWritten}) {
    rig_.ledger.intent().slot = 4;  // there are 0 to 3
    rig_.ledger.intent().state = state;
    die_and_recover({0, 1});
    expect_files_exact();
  }
  move_everything();
  expect_everything_stored();
}

TEST_F(RecoverTest, AnIntentNeverCutsOffWhatIsCommitted) {
  send_everything();
  ASSERT_TRUE(move(0));
  ledger::Intent& intent = rig_.ledger.intent();
  intent.slot = 0;
  intent.file_offset = 0;
  intent.stored = 1;
  intent.state = IntentState::kWriting;
  die_and_recover({0, 1});
  expect_files_exact();
}

TEST_F(RecoverTest, OneConnectionServesOneSlot) {
  slot(1).cookie = slot(0).cookie.load();
  const Recovery recovery = die_and_recover({0});
  ASSERT_EQ(recovery.resumed.size(), 1U);
  EXPECT_EQ(recovery.resumed.front().slot_index, 0U);
  EXPECT_EQ(recovery.lost, 1U);
}

TEST_F(RecoverTest, AStateThatDoesNotExistIsALostConnection) {
  slot(0).state = static_cast<SlotState>(77);
  EXPECT_EQ(die_and_recover({1}).lost, 1U);
  EXPECT_EQ(slot(0).state, SlotState::kFree);
}

TEST_F(RecoverTest, AnOutputThatIsGoneStopsNothing) {
  send_everything();
  ASSERT_TRUE(move(0));
  ASSERT_NO_FATAL_FAILURE(move_until(0, Killed::kAllInFile));
  std::filesystem::remove(rig_.dir / rig_.dir.names().front());
  die_and_recover({0, 1});
  EXPECT_EQ(counters().out_of_step, 0U);
  shared_.clear();
  move_everything();
  EXPECT_TRUE(rig_.only_file() == shared_) << "the rest is in a new file";
}

TEST_F(RecoverTest, ADirectoryThatIsGoneStopsNothing) {
  send_everything();
  ASSERT_TRUE(move(0));
  ASSERT_NO_FATAL_FAILURE(move_until(0, Killed::kAllInFile));
  std::filesystem::remove_all(rig_.dir.path());
  EXPECT_EQ(die_and_recover({0, 1}).resumed.size(), 2U);
  EXPECT_EQ(rig_.intake->move_chunk(fd(0), 0, *peers_[0].session).outcome,
            Intake::Outcome::kStalled);
  EXPECT_EQ(bytes_taken_from(fd(0)), std::optional<std::uint64_t>(kChunk));
}

constexpr unsigned kBlameAfter = 3;

class BlameTest : public RecoverRig, public testing::Test {
 protected:
  /// The worker dies by its own fault while it looks at what a connection has sent.
  Recovery crash_over(std::uint32_t index) {
    rig_.ledger.blame().offset_in_hand = slot(index).bytes.load();
    rig_.ledger.blame().cookie_in_hand = slot(index).cookie.load();
    return die_and_recover({0, 1}, kBlameAfter);
  }
  std::uint64_t blamed() const {
    return counters().closed[static_cast<std::size_t>(Cause::kBlamed)];
  }
  void expect_both_go_on(const Recovery& recovery, const std::string& after) const {
    EXPECT_EQ(recovery.resumed.size(), 2U) << "after " << after;
    EXPECT_EQ(blamed(), 0U) << "after " << after;
  }
  /// Whether the peer of a connection sees a RST, now that no worker has it.
  bool is_reset(std::uint32_t index) {
    peers_[index].pair.server.reset();
    const int client = peers_[index].pair.client.get();
    char byte = 0;
    return test::wait_for(client, POLLIN) && ::recv(client, &byte, 1, MSG_DONTWAIT) < 0 &&
           errno == ECONNRESET;
  }
};

TEST_F(BlameTest, TheSameBytesInHandInThreeDeathsResetTheirConnection) {
  send_everything();
  ASSERT_TRUE(move(0));
  ASSERT_TRUE(move(1));
  expect_both_go_on(crash_over(1), "one death");
  expect_both_go_on(crash_over(1), "two deaths");
  testing::internal::CaptureStderr();
  const Recovery recovery = crash_over(1);
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_EQ(recovery.resumed.size(), 1U);
  EXPECT_EQ(recovery.resumed.front().slot_index, 0U);
  EXPECT_EQ(recovery.lost, 0U) << "it is blamed, not lost";
  EXPECT_TRUE(recovery.newcomers.empty()) << "and not taken for a new one";
  EXPECT_EQ(blamed(), 1U);
  EXPECT_EQ(slot(1).state, SlotState::kFree);
  EXPECT_TRUE(is_reset(1));
  EXPECT_NE(log.find("is reset: what it sent after 1000 bytes has ended 3 workers"),
            std::string::npos)
      << log;
  while (move(0)) continue;
  EXPECT_EQ(peers_[0].moved, peers_[0].sent.size()) << "the other one goes on";
  expect_files_exact();
}

TEST_F(BlameTest, OtherBytesOfTheConnectionStartTheCountAgain) {
  send_everything();
  crash_over(0);
  crash_over(0);
  ASSERT_TRUE(move(0));  // this time it got over them
  expect_both_go_on(crash_over(0), "one death at the new offset");
  expect_both_go_on(crash_over(0), "two deaths at the new offset");
  crash_over(0);
  EXPECT_EQ(blamed(), 1U);
}

TEST_F(BlameTest, AnotherConnectionStartsTheCountAgain) {
  send_everything();
  crash_over(0);
  crash_over(0);
  expect_both_go_on(crash_over(1), "one death over the other connection");
  expect_both_go_on(crash_over(0), "one death");
  expect_both_go_on(crash_over(0), "two deaths");
  crash_over(0);
  EXPECT_EQ(blamed(), 1U);
  EXPECT_EQ(slot(1).state, SlotState::kOpen);
}

TEST_F(BlameTest, DeathsByAnotherHandDoNotCount) {
  send_everything();
  for (int i = 0; i < 10; ++i) {
    rig_.ledger.blame().offset_in_hand = slot(0).bytes.load();
    rig_.ledger.blame().cookie_in_hand = slot(0).cookie.load();
    expect_both_go_on(die_and_recover({0, 1}, 0), "SIGKILL");
  }
  expect_both_go_on(crash_over(0), "one death of its own");
  expect_both_go_on(crash_over(0), "two deaths of its own");
}

TEST_F(BlameTest, ADeathWithNothingInHandBlamesNobody) {
  send_everything();
  for (unsigned i = 0; i < 2 * kBlameAfter; ++i)
    expect_both_go_on(die_and_recover({0, 1}, kBlameAfter), "a death between two chunks");
  crash_over(0);
  crash_over(0);
  expect_both_go_on(die_and_recover({0, 1}, kBlameAfter), "a death between two chunks");
  crash_over(0);
  EXPECT_EQ(blamed(), 1U) << "nor is anybody acquitted by it";
}

TEST_F(BlameTest, AConnectionThatGotOverItsBytesIsNoLongerToBlame) {
  send_everything();
  crash_over(0);
  crash_over(0);
  rig_.ledger.blame().deaths = kBlameAfter;  // the worker was killed before it gave the verdict
  ASSERT_TRUE(move(0));
  expect_both_go_on(die_and_recover({0, 1}, kBlameAfter), "a death between two chunks");
}

TEST_F(BlameTest, TheVerdictIsGivenOnce) {
  send_everything();
  for (unsigned i = 0; i < kBlameAfter; ++i) crash_over(0);
  ASSERT_EQ(blamed(), 1U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(die_and_recover({1}, kBlameAfter).resumed.size(), 1U);
    EXPECT_EQ(blamed(), 1U);
  }
}

/// Fails over bytes that begin with '!', as a protocol's parser with a bug would.
class FragileSession final : public Session {
 public:
  explicit FragileSession(std::unique_ptr<Session> session) : session_(std::move(session)) {}
  Taken on_bytes(std::span<const std::byte> bytes, bool last) noexcept override {
    if (bytes.front() == std::byte{'!'}) std::abort();
    return session_->on_bytes(bytes, last);
  }
  Sink* sink() noexcept override { return session_->sink(); }

 private:
  std::unique_ptr<Session> session_;
};

/// A worker's life, in a process of its own: recovers, then reads `limit` bytes of each connection
/// in turn until all is read.
std::string live(ServiceRig& rig, const std::vector<Peer>& peers, unsigned blame_after,
                 std::size_t limit) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  rig.die();
  std::vector<UniqueFd> connections;
  for (const Peer& peer : peers) connections.push_back(duplicate(peer.pair.server.get()));
  Recovery recovery = recover(rig.ledger, *rig.service, std::move(connections), blame_after);
  for (ResumedConnection& resumed : recovery.resumed)
    resumed.session = std::make_unique<FragileSession>(std::move(resumed.session));
  for (bool more = true; more;) {
    more = false;
    for (const ResumedConnection& resumed : recovery.resumed)
      more = rig.intake
                     ->move_chunk(resumed.fd.get(), resumed.slot_index, *resumed.session,
                                  Intake::More::kMayCome, limit)
                     .bytes > 0 ||
             more;
  }
  return fmt::format("went on with {}", recovery.resumed.size());
}

TEST(Blame, AConnectionThatCrashesEveryWorkerIsTheOnlyOneToGo) {
  ServiceRig rig;
  std::vector<Peer> peers;
  peers.push_back({"abcd!efg"});
  peers.push_back({"0123456789"});
  for (std::uint32_t i = 0; i < peers.size(); ++i) {
    rig.enter(i, peers[i].pair.server.get());
    test::send_all(peers[i].pair.client.get(), peers[i].sent);
    ASSERT_TRUE(test::arrived(peers[i].pair.server.get(), peers[i].sent.size()));
  }
  const auto life = [&](unsigned blame_after) {
    return test::in_child([&] { return live(rig, peers, blame_after, 2); });
  };
  EXPECT_EQ(life(0), "died: Aborted");
  EXPECT_EQ(life(kBlameAfter), "died: Aborted");
  EXPECT_EQ(life(kBlameAfter), "died: Aborted");
  EXPECT_EQ(rig.ledger.counters().closed[static_cast<std::size_t>(Cause::kBlamed)], 0U);
  EXPECT_EQ(life(kBlameAfter), "went on with 1");
  EXPECT_EQ(rig.ledger.counters().closed[static_cast<std::size_t>(Cause::kBlamed)], 1U);
  EXPECT_EQ(rig.ledger.counters().closed[static_cast<std::size_t>(Cause::kLost)], 0U);
  EXPECT_EQ(rig.ledger.counters().out_of_step, 0U);
  EXPECT_EQ(rig.ledger.slots()[0].state, SlotState::kFree);
  EXPECT_EQ(rig.ledger.slots()[1].bytes, peers[1].sent.size());
  EXPECT_EQ(rig.only_file(), "ab01cd23456789") << "what came before the fatal bytes is kept";
}

void kill_us_in(std::chrono::microseconds delay) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  timer_t timer{};
  itimerspec time{};
  time.it_value.tv_nsec = std::chrono::nanoseconds(delay).count() + 1;
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
      ::timer_settime(timer, 0, &time, nullptr) != 0)
    ::_exit(1);
}

/// What a real worker does until it is killed: some time after it was started, or after it has
/// recovered what the one before left.
[[noreturn]] void serve_until_killed(ServiceRig& rig, const std::vector<Peer>& peers,
                                     std::chrono::microseconds delay, bool in_recovery) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  rig.die(2 * kChunk);
  std::vector<UniqueFd> connections;
  for (const Peer& peer : peers) connections.push_back(duplicate(peer.pair.server.get()));
  if (in_recovery) kill_us_in(delay);
  const Recovery recovery = recover(rig.ledger, *rig.service, std::move(connections));
  if (!in_recovery) kill_us_in(delay);
  for (;;)
    for (const ResumedConnection& resumed : recovery.resumed)
      rig.intake->move_chunk(resumed.fd.get(), resumed.slot_index, *resumed.session);
}

/// Sends what the connections have room for. False when everything was sent.
bool top_up(std::vector<Peer>& peers) {
  bool more = false;
  for (Peer& peer : peers) {
    const ssize_t n = ::send(peer.pair.client.get(), peer.sent.data() + peer.moved,
                             peer.sent.size() - peer.moved, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) peer.moved += static_cast<std::size_t>(n);
    more = more || peer.moved < peer.sent.size();
  }
  return more;
}

/// The two upper bits of each byte say whose it is.
std::string tagged_stream(std::size_t size, unsigned owner) {
  std::string bytes = test::stream_bytes(size, owner);
  for (char& byte : bytes)
    byte = static_cast<char>((static_cast<unsigned char>(byte) & 0x3F) | (owner << 6));
  return bytes;
}

class RecoverKilled : public testing::TestWithParam<bool> {};

TEST_P(RecoverKilled, AtAnyMomentNothingIsLostOrDoubled) {
  ServiceRig rig(GetParam());
  std::vector<Peer> peers;
  std::uint64_t total = 0;
  for (unsigned owner = 0; owner < 3; ++owner) {
    peers.push_back({tagged_stream(1'000'000, owner)});
    rig.enter(owner, peers.back().pair.server.get());
    total += peers.back().sent.size();
  }
  std::minstd_rand random(42);
  std::uniform_int_distribution<int> microseconds(0, 500);
  int kills = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while ((top_up(peers) || rig.ledger.counters().bytes < total) &&
         std::chrono::steady_clock::now() < deadline) {
    const std::chrono::microseconds delay(microseconds(random));
    const pid_t worker = ::fork();
    if (worker == 0) serve_until_killed(rig, peers, delay, kills % 4 == 0);
    int status = 0;
    while (::waitpid(worker, &status, WNOHANG) == 0) top_up(peers);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    ++kills;
  }
  std::vector<UniqueFd> connections;
  for (const Peer& peer : peers) connections.push_back(duplicate(peer.pair.server.get()));
  recover(rig.ledger, *rig.service, std::move(connections));

  const ledger::Counters& counters = rig.ledger.counters();
  RecordProperty("kills", kills);
  RecordProperty("torn", static_cast<int>(counters.torn_repaired));
  RecordProperty("completed", static_cast<int>(counters.completed));
  EXPECT_EQ(counters.bytes, total) << "after " << kills << " kills";
  EXPECT_EQ(counters.out_of_step, 0U);
  for (std::uint32_t i = 0; i < peers.size(); ++i) {
    const auto& record = GetParam() ? rig.ledger.slots()[i].file : rig.ledger.output();
    std::string stored = test::file_content(rig.dir / record.file_name());
    std::erase_if(stored, [i](char byte) { return static_cast<unsigned char>(byte) >> 6 != i; });
    EXPECT_EQ(rig.ledger.slots()[i].bytes, peers[i].sent.size());
    EXPECT_TRUE(stored == peers[i].sent)
        << "connection " << i << ": " << stored.size() << " bytes stored after " << kills
        << " kills, " << peers[i].sent.size() << " sent";
  }
}

INSTANTIATE_TEST_SUITE_P(Files, RecoverKilled, testing::Bool(), [](const auto& own) {
  return std::string(own.param ? "PerConnection" : "Shared");
});

}  // namespace
}  // namespace serverd
