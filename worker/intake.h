#pragma once

#include "common/ledger.h"
#include "worker/session.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <system_error>

namespace serverd {

/// Moves received bytes from a socket to a file, each exactly once even if this process is killed
/// between any two instructions: peek, note the intent, store, commit, discard, forget the intent.
/// The successor repairs the one step that was in hand (recover.h).
///
/// One per worker, with one buffer for all connections.
class Intake final {
 public:
  /// For one connection to memory 1 MiB takes a quarter more CPU time; 4 MiB saves nothing more.
  static constexpr std::size_t kChunkSize = std::size_t{2} << 20;

  explicit Intake(ledger::Ledger& ledger, std::size_t chunk_size = kChunkSize);

  enum class Outcome {
    kMoved,    ///< `bytes` were taken from the socket, and stored if they are payload
    kDrained,  ///< nothing to read now
    kEof,      ///< the peer has finished, and everything is stored
    kReset,    ///< the connection is broken (`error`), and everything that arrived is stored
    kStalled,  ///< the sink does not take bytes (`error`); they stay in the socket
    kBlocked,  ///< as kStalled, for the service's other output
    kDeferred  ///< `bytes` are to leave the socket when the service has committed them: `settle`
  };
  struct Result {
    Outcome outcome;
    std::size_t bytes = 0;
    std::error_code error{};
    std::size_t held = 0;  ///< shown to the session, which waits for more before it takes them
    bool crowded = false;  ///< the held bytes do not wait for more: see Taken
  };

  enum class More {
    kMayCome,
    kNever  ///< everything that will ever come is in the socket
  };
  /// One chunk of at most `limit` bytes from the non-blocking socket `fd`.
  Result move_chunk(int fd, std::uint32_t slot_index, Session& session, More more = More::kMayCome,
                    std::size_t limit = kChunkSize) noexcept;

  /// Takes bytes from the socket that the service has committed.
  void settle(int fd, std::uint32_t slot_index, std::size_t bytes) noexcept;

  /// The steps of move_chunk, one by one.
  struct Chunk {
    std::uint32_t slot_index;
    std::span<const std::byte> payload;
    std::size_t protocol_bytes;
    std::size_t consumed;  ///< known after `store`
  };
  Result peek(int fd, std::size_t limit) noexcept;
  void note_intent(const Chunk& chunk, std::uint64_t file_offset) noexcept;
  std::error_code store(Chunk& chunk, Sink& sink) noexcept;
  void commit(const Chunk& chunk, Sink* sink) noexcept;
  void take_out(int fd, const Chunk& chunk) noexcept;
  static bool discard(int fd, std::size_t bytes) noexcept;
  void forget_intent() noexcept;

 private:
  std::span<const std::byte> worth_moving(Session& session, std::size_t peeked) const noexcept;
  Taken interpret(std::uint32_t slot_index, Session& session, std::span<const std::byte> bytes,
                  bool last) noexcept;

  ledger::Ledger& ledger_;
  std::size_t chunk_size_;
  std::unique_ptr<std::byte[]> buffer_;
};

/// How many of `size` payload bytes to store at `file_offset` in one go: of many, a few less, so
/// that the next write begins on a multiple of 64 KiB. File systems with large folios (ext4, XFS)
/// then need few of them, and no page of the file is filled in two goes.
std::size_t whole_blocks(std::uint64_t file_offset, std::size_t size) noexcept;

/// Makes the counts in the ledger what the intent says: absolute values, so that doing it again
/// after a crash changes nothing. `sink` is null for a chunk without payload.
void apply_intent(ledger::Ledger& ledger, ledger::Slot& slot, Sink* sink) noexcept;

}  // namespace serverd
