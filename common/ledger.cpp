#include "common/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <vector>

#include <netinet/in.h>

namespace serverd::ledger {
namespace {

constexpr std::size_t size_for(std::size_t slot_count) {
  return sizeof(Layout) + slot_count * sizeof(Slot);
}

std::uint64_t realtime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::string_view text_in(std::span<const char> field) noexcept {
  const auto end = std::find(field.begin(), field.end(), '\0');
  return {field.data(), static_cast<std::size_t>(end - field.begin())};
}

}  // namespace

const char* cause_name(Cause cause) noexcept {
  constexpr std::array<const char*, static_cast<std::size_t>(Cause::kCount)> kNames = {
      "eof", "reset", "idle", "stopped", "error", "blamed", "lost", "killed", "slow"};
  return cause < Cause::kCount ? kNames[static_cast<std::size_t>(cause)] : "?";
}

std::string_view FileRecord::file_name() const noexcept { return text_in(name); }

std::string_view Header::protocol_name() const noexcept { return text_in(protocol); }

void FileRecord::begin(std::string_view file_name) noexcept {
  state.store(FileState::kNone, std::memory_order_release);
  committed.store(0, std::memory_order_release);
  name.fill('\0');
  std::memcpy(name.data(), file_name.data(), std::min(file_name.size(), kNameSize - 1));
  state.store(FileState::kCreating, std::memory_order_release);
}

PeerAddress PeerAddress::from(const SocketAddress& address) noexcept {
  PeerAddress peer{};
  peer.family = static_cast<std::uint16_t>(address.family());
  peer.port = address.port();
  if (address.family() == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address.data());
    std::memcpy(peer.address.data(), &in->sin_addr, sizeof in->sin_addr);
  } else if (address.family() == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(address.data());
    std::memcpy(peer.address.data(), &in6->sin6_addr, sizeof in6->sin6_addr);
    peer.scope = in6->sin6_scope_id;
  }
  return peer;
}

SocketAddress PeerAddress::to_address() const noexcept {
  sockaddr_storage storage{};
  if (family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    std::memcpy(&in->sin_addr, address.data(), sizeof in->sin_addr);
    return SocketAddress::from_storage(storage, sizeof *in);
  }
  if (family == AF_INET6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&storage);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_scope_id = scope;
    std::memcpy(&in6->sin6_addr, address.data(), sizeof in6->sin6_addr);
    return SocketAddress::from_storage(storage, sizeof *in6);
  }
  return {};
}

UniqueFd create(std::uint16_t port, std::string_view protocol, std::uint32_t slot_count) {
  const std::string name = fmt::format("ledger-{}", port);
  UniqueFd fd = sealed_memory(name.c_str(), size_for(slot_count));
  const Mapping mapping(fd.get(), Mapping::Access::kReadWrite);
  Header& header = static_cast<Layout*>(mapping.data())->header;
  header.magic = kMagic;
  header.layout_version = kLayoutVersion;
  header.slot_count = slot_count;
  header.port = port;
  std::memcpy(header.protocol.data(), protocol.data(),
              std::min(protocol.size(), header.protocol.size() - 1));
  header.started_at = realtime_ns();
  header.next_connection_id = 1;
  return fd;
}

UniqueFd resized_copy(int fd, std::uint32_t slot_count) {
  const Ledger from(fd, Mapping::Access::kReadWrite);
  std::vector<std::uint32_t> used;
  for (std::uint32_t i = 0; i < from.slots().size(); ++i)
    if (from.slots()[i].state != SlotState::kFree) used.push_back(i);
  const auto count = std::max(slot_count, static_cast<std::uint32_t>(used.size()));
  const std::uint32_t old_intent_slot = from.intent().slot;

  UniqueFd copy = create(static_cast<std::uint16_t>(from.header().port), "", count);
  const Ledger to(copy.get(), Mapping::Access::kReadWrite);
  // Plain memory on both sides: nobody else looks at either now.
  std::memcpy(static_cast<void*>(&to.header()), &from.header(), sizeof(Layout));
  to.header().slot_count = count;
  to.intent().slot = count;  // no slot, unless its own is in use and moves
  for (std::uint32_t i = 0; i < used.size(); ++i) {
    std::memcpy(static_cast<void*>(&to.slots()[i]), &from.slots()[used[i]], sizeof(Slot));
    if (used[i] == old_intent_slot) to.intent().slot = i;
  }
  return copy;
}

std::optional<std::size_t> request_reset(int fd, std::uint64_t connection_id) {
  const Ledger ledger(fd, Mapping::Access::kReadWrite);
  std::optional<std::size_t> found;
  ledger.for_each_open([&](std::size_t index, Slot& slot) {
    if (slot.id != connection_id) return true;
    // The id and not a flag: if the slot gets another connection just now, that one is not meant.
    slot.request = connection_id;
    found = index;
    return false;
  });
  return found;
}

Ledger::Ledger(int fd, Mapping::Access access) : mapping_(fd, access) {
  if (mapping_.size() < sizeof(Layout) || header().magic != kMagic)
    throw LedgerError("not a ledger");
  if (header().layout_version != kLayoutVersion)
    throw LedgerError(fmt::format("ledger has layout version {}, this program knows {}",
                                  header().layout_version, kLayoutVersion));
  if (mapping_.size() != size_for(header().slot_count))
    throw LedgerError(fmt::format("ledger of {} bytes cannot hold the {} slots it announces",
                                  mapping_.size(), header().slot_count));
}

std::span<Slot> Ledger::slots() const noexcept {
  auto* first = reinterpret_cast<Slot*>(static_cast<char*>(mapping_.data()) + sizeof(Layout));
  return {first, (mapping_.size() - sizeof(Layout)) / sizeof(Slot)};
}

}  // namespace serverd::ledger
