#include "common/ledger.h"

#include "tests/support/in_child.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd::ledger {
namespace {

constexpr auto kReadWrite = Mapping::Access::kReadWrite;

/// Puts `value` where `member` of the header stands.
template <typename Value>
void overwrite(const UniqueFd& fd, std::size_t offset, Value value) {
  ASSERT_EQ(::pwrite(fd.get(), &value, sizeof value, static_cast<off_t>(offset)),
            static_cast<ssize_t>(sizeof value));
}

/// Why `fd` is no ledger; "is one".
std::string refusal(const UniqueFd& fd) {
  try {
    const Ledger ledger(fd.get(), Mapping::Access::kRead);
    return "is one";
  } catch (const LedgerError& error) {
    return error.what();
  }
}

TEST(Ledger, IsNewAndEmpty) {
  const UniqueFd fd = create(5000, "stream", 3);
  const Ledger ledger(fd.get(), kReadWrite);
  EXPECT_EQ(ledger.header().port, 5000U);
  EXPECT_STREQ(ledger.header().protocol.data(), "stream");
  EXPECT_EQ(ledger.header().next_connection_id, 1U);
  EXPECT_GT(ledger.header().started_at, 0U);
  EXPECT_EQ(ledger.counters().accepted, 0U);
  EXPECT_EQ(ledger.intent().state, IntentState::kNone);
  EXPECT_EQ(ledger.output().state, FileState::kNone);
  ASSERT_EQ(ledger.slots().size(), 3U);
  for (const Slot& slot : ledger.slots()) EXPECT_EQ(slot.state, SlotState::kFree);
}

TEST(Ledger, FindsTheConnectionThatIsToBeReset) {
  const UniqueFd fd = create(5000, "stream", 10);
  const Ledger ledger(fd.get(), kReadWrite);
  for (const std::size_t index : {2, 3, 7}) {
    ledger.slots()[index].id = index * 100;
    ledger.slots()[index].state = SlotState::kOpen;
    ++ledger.counters().open;
  }
  ledger.slots()[3].state = SlotState::kClosing;
  EXPECT_EQ(request_reset(fd.get(), 700), 7U);
  EXPECT_EQ(ledger.slots()[7].request, 700U);
  EXPECT_EQ(request_reset(fd.get(), 300), std::nullopt) << "it is ending already";
  EXPECT_EQ(request_reset(fd.get(), 400), std::nullopt);
  EXPECT_EQ(ledger.slots()[2].request, 0U);
}

TEST(Ledger, LooksNoFurtherThanToTheLastOpenConnection) {
  constexpr std::uint32_t kSlots = 100'000;
  const UniqueFd fd = create(5000, "stream", kSlots);
  const Ledger ledger(fd.get(), kReadWrite);
  ledger.slots()[1].state = SlotState::kOpen;
  ledger.counters().open = 1;
  int seen = 0;
  Ledger(fd.get(), Mapping::Access::kRead).for_each_open([&](std::size_t index, const Slot&) {
    EXPECT_EQ(index, 1U);
    ++seen;
    return true;
  });
  EXPECT_EQ(seen, 1);
  struct stat status {};
  ASSERT_EQ(::fstat(fd.get(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 100'000) << "the rest is still memory that nobody has used";
}

TEST(Ledger, AReaderCannotOpenItAnewForWriting) {
  if (::geteuid() != 0) FAIL() << "needs root";
  const UniqueFd fd = create(5000, "stream", 1);
  EXPECT_EQ(test::in_child([&]() -> std::string {
              const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
              const UniqueFd reader = UniqueFd::adopt(::open(path.c_str(), O_RDONLY));
              const std::string again = "/proc/self/fd/" + std::to_string(reader.get());
              if (!reader || ::setresuid(65534, 65534, 65534) != 0) return "no reader";
              const Ledger readable(reader.get(), Mapping::Access::kRead);
              const UniqueFd writer = UniqueFd::adopt(::open(again.c_str(), O_RDWR));
              return writer ? "opened" : ::strerror(errno);
            }),
            "Permission denied");
}

TEST(Ledger, CannotBeResized) {
  const UniqueFd fd = create(5000, "stream", 3);
  EXPECT_TRUE(has_seals(fd.get(), F_SEAL_GROW | F_SEAL_SHRINK));
}

TEST(Ledger, WhatIsWrittenIsSeenByTheNextOne) {
  const UniqueFd fd = create(5000, "stream", 3);
  {
    const Ledger ledger(fd.get(), kReadWrite);
    ledger.slots()[2].bytes = 12345;
    ledger.count_close(Cause::kReset);
    ledger.output().begin("file.bin");
  }
  const Ledger ledger(fd.get(), Mapping::Access::kRead);
  EXPECT_EQ(ledger.slots()[2].bytes, 12345U);
  EXPECT_EQ(ledger.counters().closed[static_cast<std::size_t>(Cause::kReset)], 1U);
  EXPECT_EQ(ledger.output().file_name(), "file.bin");
}

TEST(Ledger, SlotsDoNotShareCacheLines) {
  const UniqueFd fd = create(5000, "stream", 3);
  const Ledger ledger(fd.get(), kReadWrite);
  for (const Slot& slot : ledger.slots())
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&slot) % 64, 0U);
}

TEST(Ledger, ALongProtocolNameIsCut) {
  const UniqueFd fd = create(5000, "a protocol with a long name", 1);
  const Ledger ledger(fd.get(), kReadWrite);
  EXPECT_STREQ(ledger.header().protocol.data(), "a protocol ");
}

TEST(Ledger, AProtocolNameWithoutAnEndIsCutAtItsBounds) {
  const UniqueFd fd = create(5000, "stream", 1);
  const Ledger ledger(fd.get(), kReadWrite);
  EXPECT_EQ(ledger.header().protocol_name(), "stream");
  ledger.header().protocol.fill('x');
  ledger.header().started_at = ~std::uint64_t{0};
  EXPECT_EQ(ledger.header().protocol_name(), std::string(12, 'x'));
}

TEST(Ledger, MayHaveNoSlots) {
  const UniqueFd fd = create(5000, "stream", 0);
  EXPECT_TRUE(Ledger(fd.get(), kReadWrite).slots().empty());
}

TEST(Ledger, AnotherMagicIsRefused) {
  const UniqueFd fd = create(5000, "stream", 3);
  overwrite(fd, offsetof(Header, magic), std::uint64_t{1});
  EXPECT_EQ(refusal(fd), "not a ledger");
}

TEST(Ledger, MemoryThatIsTooSmallIsRefused) {
  EXPECT_EQ(refusal(sealed_memory("test", 1)), "not a ledger");
  EXPECT_EQ(refusal(sealed_memory("test", sizeof(Layout) - 1)), "not a ledger");
  EXPECT_EQ(refusal(sealed_memory("test", sizeof(Layout))), "not a ledger");
  EXPECT_EQ(refusal(sealed_text("test", std::string(sizeof(Layout), 'x'))), "not a ledger");
}

TEST(Ledger, AnotherLayoutIsRefusedAndNamed) {
  const UniqueFd fd = create(5000, "stream", 3);
  overwrite(fd, offsetof(Header, layout_version), kLayoutVersion + 1);
  EXPECT_EQ(refusal(fd), "ledger has layout version " + std::to_string(kLayoutVersion + 1) +
                             ", this program knows " + std::to_string(kLayoutVersion));
}

TEST(Ledger, ANumberOfSlotsThatDoesNotFitIsRefused) {
  for (const std::uint32_t count : {0U, 2U, 4U, 0xFFFF'FFFFU}) {
    const UniqueFd fd = create(5000, "stream", 3);
    overwrite(fd, offsetof(Header, slot_count), count);
    EXPECT_EQ(refusal(fd), "ledger of " + std::to_string(sizeof(Layout) + 3 * sizeof(Slot)) +
                               " bytes cannot hold the " + std::to_string(count) +
                               " slots it announces");
  }
}

TEST(Ledger, WhatCannotBeMappedIsASystemError) {
  EXPECT_THROW(Ledger(-1, kReadWrite), std::system_error);
}

TEST(ResizedCopy, KeepsEverythingThatIsInUse) {
  const UniqueFd fd = create(5000, "stream", 8);
  const Ledger from(fd.get(), kReadWrite);
  from.header().generation = 7;
  from.counters().bytes = 99;
  from.output().begin("file.bin");
  for (const std::uint32_t index : {2U, 5U}) {
    from.slots()[index].state = SlotState::kOpen;
    from.slots()[index].id = index;
    from.slots()[index].file.begin("file-" + std::to_string(index));
  }
  from.intent().slot = 5;
  from.intent().state = IntentState::kWritten;

  const UniqueFd copy = resized_copy(fd.get(), 4);
  const Ledger to(copy.get(), kReadWrite);
  ASSERT_EQ(to.slots().size(), 4U);
  EXPECT_EQ(to.header().port, 5000U);
  EXPECT_STREQ(to.header().protocol.data(), "stream");
  EXPECT_EQ(to.header().generation, 7U);
  EXPECT_EQ(to.counters().bytes, 99U);
  EXPECT_EQ(to.output().file_name(), "file.bin");
  EXPECT_EQ(to.slots()[0].id, 2U);
  EXPECT_EQ(to.slots()[1].id, 5U);
  EXPECT_EQ(to.slots()[1].file.file_name(), "file-5");
  EXPECT_EQ(to.slots()[2].state, SlotState::kFree);
  EXPECT_EQ(to.intent().slot, 1U) << "the slot has moved";
  EXPECT_EQ(to.intent().state, IntentState::kWritten);
  EXPECT_TRUE(has_seals(copy.get(), F_SEAL_GROW | F_SEAL_SHRINK));
}

TEST(ResizedCopy, NeverHasLessRoomThanIsInUse) {
  const UniqueFd fd = create(5000, "stream", 8);
  const Ledger from(fd.get(), kReadWrite);
  for (const std::uint32_t index : {0U, 3U, 7U}) from.slots()[index].state = SlotState::kOpen;
  EXPECT_EQ(Ledger(resized_copy(fd.get(), 1).get(), kReadWrite).slots().size(), 3U);
  EXPECT_EQ(Ledger(resized_copy(fd.get(), 100).get(), kReadWrite).slots().size(), 100U);
}

TEST(ResizedCopy, AnIntentForAFreeSlotNamesNoOther) {
  const UniqueFd fd = create(5000, "stream", 4);
  const Ledger from(fd.get(), kReadWrite);
  from.slots()[1].state = SlotState::kOpen;
  from.slots()[2].state = SlotState::kOpen;
  from.intent().slot = 0;
  from.intent().state = IntentState::kWriting;
  const UniqueFd copy = resized_copy(fd.get(), 4);
  const Ledger to(copy.get(), kReadWrite);
  const std::uint32_t slot = to.intent().slot;
  EXPECT_TRUE(to.intent().state == IntentState::kNone || slot >= to.slots().size() ||
              to.slots()[slot].state == SlotState::kFree)
      << "slot " << slot;
}

TEST(FileRecord, HoldsNamesUpToItsSize) {
  FileRecord record{};
  EXPECT_EQ(record.file_name(), "");
  record.committed = 5;
  record.begin("name");
  EXPECT_EQ(record.file_name(), "name");
  EXPECT_EQ(record.state, FileState::kCreating);
  EXPECT_EQ(record.committed, 0U) << "a new file is empty";
  const std::string longest(kNameSize - 1, 'x');
  record.begin(longest);
  EXPECT_EQ(record.file_name(), longest);
  record.begin("short");
  EXPECT_EQ(record.file_name(), "short") << "nothing of the longer one is left";
}

TEST(FileRecord, NamesThatAreTooLongAreCut) {
  FileRecord record{};
  record.begin(std::string(kNameSize, 'x'));
  EXPECT_EQ(record.file_name(), std::string(kNameSize - 1, 'x'));
}

TEST(FileRecord, ANameWithoutAnEndIsCutAtItsBounds) {
  FileRecord record{};
  record.name.fill('x');
  EXPECT_EQ(record.file_name(), std::string(kNameSize, 'x'));
}

TEST(PeerAddress, GivesBackWhatItWasMadeFrom) {
  for (const char* host : {"127.0.0.1", "255.255.255.255", "0.0.0.0", "::1", "2001:db8::7:8"}) {
    const SocketAddress address = SocketAddress::from_host(host, 54321).value();
    const PeerAddress peer = PeerAddress::from(address);
    EXPECT_EQ(peer.to_address(), address) << host << " became " << peer.to_address().to_string();
    EXPECT_EQ(peer.port, 54321);
  }
}

TEST(PeerAddress, KeepsTheScopeOfALinkLocalAddress) {
  const SocketAddress address = SocketAddress::from_host("fe80::1%lo", 1).value();
  EXPECT_EQ(PeerAddress::from(address).to_address(), address);
}

TEST(PeerAddress, AnUnknownFamilyIsNoAddress) {
  PeerAddress peer{};
  EXPECT_EQ(peer.to_address(), SocketAddress());
  peer.family = 4711;
  EXPECT_EQ(peer.to_address(), SocketAddress());
  EXPECT_EQ(PeerAddress::from(SocketAddress()).to_address(), SocketAddress());
}

TEST(Cause, EachHasAName) {
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(Cause::kCount); ++i)
    EXPECT_STRNE(cause_name(static_cast<Cause>(i)), "?") << i;
  EXPECT_STREQ(cause_name(Cause::kEof), "eof");
  EXPECT_STREQ(cause_name(Cause::kLost), "lost");
  EXPECT_STREQ(cause_name(Cause::kCount), "?");
}

}  // namespace
}  // namespace serverd::ledger
