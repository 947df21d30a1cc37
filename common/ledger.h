#pragma once

#include "common/os/memfd.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

/// The ledger: what one port's worker knows, in shared memory that outlives it. The worker writes
/// down what it is about to do before it does it, so that its successor can finish or undo the step
/// in which it was killed. Single writer (the worker), any number of readers, no locks; every word
/// is absolute, so that writing it twice does no harm.
///
/// Ordering: SIGKILL stops a process between two instructions and loses no store, so program order
/// (release stores) is all that is needed. A power failure ends the connections too.
namespace serverd::ledger {

inline constexpr std::uint64_t kMagic = 0x5245'4744'454c'5353;  // "SSLEDGER"
inline constexpr std::uint32_t kLayoutVersion = 2;
inline constexpr std::size_t kNameSize = 64;

using Word = std::atomic<std::uint64_t>;
static_assert(Word::is_always_lock_free);

/// Why a connection ended.
enum class Cause : std::uint32_t {
  kEof,      ///< the peer finished
  kReset,    ///< the peer reset it, or the network gave up
  kIdle,     ///< idle_timeout
  kStopped,  ///< the daemon was stopped or drained
  kError,    ///< an error of our own, said in the log
  kBlamed,   ///< what it sent has ended workers
  kLost,     ///< it died with a worker
  kKilled,   ///< on request
  kSlow,     ///< it did not read what it was sent
  kCount
};
const char* cause_name(Cause cause) noexcept;

enum class FileState : std::uint32_t {
  kNone,
  kCreating,  ///< `name` is valid; the file may not exist yet
  kOpen       ///< the file exists
};

/// One output file: its name within the service's directory, and how much of it is right.
struct FileRecord {
  Word committed;  ///< bytes; what lies behind is torn
  std::atomic<FileState> state;
  std::array<char, kNameSize> name;  ///< zero-terminated

  /// The name, bounds-checked.
  std::string_view file_name() const noexcept;
  /// Begins a new record; `file_name` is shorter than kNameSize.
  void begin(std::string_view file_name) noexcept;
};

enum class IntentState : std::uint32_t {
  kNone,
  kWriting,  ///< bytes are on their way to the file
  kWritten   ///< they are in the file; ledger and socket may lag behind
};

/// The one chunk in hand.
struct Intent {
  std::atomic<IntentState> state;
  std::uint32_t slot;
  std::uint64_t connection_offset;  ///< the slot's `bytes` before this chunk
  std::uint64_t consumed;           ///< bytes the chunk takes from the connection
  std::uint64_t file_offset;        ///< the file's committed length before this chunk
  std::uint64_t stored;             ///< bytes the chunk adds to the file
  std::uint64_t port_offset;        ///< counters().bytes before this chunk
};

/// Which connection's bytes are being interpreted, and whose have ended workers before.
struct Blame {
  Word cookie_in_hand;  ///< 0: none
  Word offset_in_hand;
  Word blamed_cookie;
  Word blamed_offset;
  Word deaths;  ///< in a row, by the worker's own fault, with these bytes in hand
};

enum class SlotState : std::uint32_t {
  kFree,
  kOpen,
  kClosing  ///< we are ending it: a successor that does not find it has lost nothing
};

struct PeerAddress {
  std::uint16_t family;
  std::uint16_t port;  ///< host order
  std::uint32_t scope;
  std::array<std::uint8_t, 16> address;  ///< network order; IPv4 in the first four

  static PeerAddress from(const SocketAddress& address) noexcept;
  SocketAddress to_address() const noexcept;
};

/// One connection.
struct alignas(64) Slot {
  std::atomic<SlotState> state;
  std::atomic<std::int32_t> descriptor;
  Word id;      ///< counts from 1 within the port
  Word cookie;  ///< SO_COOKIE
  PeerAddress peer;
  Word accepted_at;   ///< ns, CLOCK_REALTIME
  Word last_byte_at;  ///< ns, CLOCK_MONOTONIC
  Word bytes;         ///< taken from the socket and safe
  Word request;       ///< set by the supervisor to `id`: reset this connection. Else: none
  std::array<Word, 4> protocol;  ///< the protocol's own
  FileRecord file;               ///< where each connection has a file of its own
};

/// Cumulative for the port; they never go back.
struct alignas(64) Counters {
  Word accepted;
  std::array<Word, static_cast<std::size_t>(Cause::kCount)> closed;
  Word bytes;
  Word write_errors;   ///< times the output could not be written
  Word torn_repaired;  ///< recoveries that cut a half-written chunk off
  Word completed;      ///< recoveries that finished a written chunk
  Word out_of_step;    ///< connections whose count was wrong after a recovery: loss
  Word open;           ///< connections now
  Word deaths;         ///< of workers that nobody had told to end; counted by the supervisor
};

struct alignas(64) Header {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t slot_count;
  std::uint32_t port;
  std::array<char, 12> protocol;  ///< zero-terminated
  Word started_at;                ///< ns, CLOCK_REALTIME
  Word generation;                ///< of the worker; counts from 1
  Word next_connection_id;

  /// `protocol`, bounds-checked.
  std::string_view protocol_name() const noexcept;
};

/// What stands before the slots.
struct Layout {
  Header header;
  Counters counters;
  alignas(64) FileRecord output;  ///< the port's shared file
  alignas(64) Intent intent;
  alignas(64) Blame blame;
  alignas(64) std::array<Word, 8> protocol;  ///< the protocol's own, for the whole port
};

/// The descriptor is no ledger of ours, or of another layout version.
class LedgerError final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A new, empty ledger: memfd sealed in size. Throws std::system_error.
UniqueFd create(std::uint16_t port, std::string_view protocol, std::uint32_t slot_count);

/// A copy of the ledger `fd` with room for `slot_count` slots, or for those in use if they are
/// more; for when nothing writes to it. Throws LedgerError, std::system_error.
UniqueFd resized_copy(int fd, std::uint32_t slot_count);

/// Notes in the ledger `fd` that the open connection of this id is to be reset, for its worker,
/// which looks when it gets kRequestSignal and when it starts. Gives the slot's index; empty if
/// there is no such connection. Throws LedgerError, std::system_error.
std::optional<std::size_t> request_reset(int fd, std::uint64_t connection_id);

/// A mapped ledger. What it holds was written by a worker: readers in other processes check every
/// index against `slots().size()`, which comes from the memfd's sealed size.
class Ledger final {
 public:
  /// Throws LedgerError if it is not a ledger of this layout, std::system_error if it cannot be
  /// mapped.
  Ledger(int fd, Mapping::Access access);

  Header& header() const noexcept { return layout().header; }
  Counters& counters() const noexcept { return layout().counters; }
  FileRecord& output() const noexcept { return layout().output; }
  Intent& intent() const noexcept { return layout().intent; }
  Blame& blame() const noexcept { return layout().blame; }
  std::span<Word> protocol_words() const noexcept { return layout().protocol; }
  std::span<Slot> slots() const noexcept;

  /// Calls `visit(index, slot)` for open connections until it gives false. Looks no further than
  /// to the last one: most of a large table is memory that was never used, and a look uses it.
  template <typename Visit>
  void for_each_open(Visit visit) const {
    std::uint64_t left = counters().open;
    const std::span<Slot> all = slots();
    for (std::size_t i = 0; i < all.size() && left > 0; ++i) {
      if (all[i].state.load(std::memory_order_acquire) != SlotState::kOpen) continue;
      --left;
      if (!visit(i, all[i])) return;
    }
  }

  void count_close(Cause cause) const noexcept {
    counters().closed[static_cast<std::size_t>(cause)].fetch_add(1, std::memory_order_relaxed);
  }

 private:
  Layout& layout() const noexcept { return *static_cast<Layout*>(mapping_.data()); }

  Mapping mapping_;
};

}  // namespace serverd::ledger
