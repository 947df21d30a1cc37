#pragma once

#include "common/ledger.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"
#include "tests/support/tcp_pair.h"
#include "tests/support/temp_dir.h"
#include "worker/intake.h"
#include "worker/recover.h"
#include "worker/stream/stream_service.h"
#include "worker/tcp_progress.h"

#include <memory>
#include <string>

namespace serverd::test {

/// One port of the stream service without a process: ledger, output directory and, replaced by
/// `die`, what a worker has in its memory.
struct ServiceRig {
  explicit ServiceRig(bool file_per_connection = false, std::uint32_t slots = 4)
      : memory(ledger::create(5000, "stream", slots)),
        ledger(memory.get(), Mapping::Access::kReadWrite),
        config{dir.path(), file_per_connection} {
    die();
  }

  /// Everything that a worker forgets when it is killed; a fresh one stands in its place.
  void die(std::size_t chunk_size = Intake::kChunkSize) {
    service = std::make_unique<StreamService>(config, std::uint16_t{5000}, ledger);
    intake = std::make_unique<Intake>(ledger, chunk_size);
  }

  /// What a worker does with a connection that it has accepted.
  ledger::Slot& enter(std::uint32_t index, int fd) {
    ledger::Slot& slot = ledger.slots()[index];
    slot.id = ledger.header().next_connection_id++;
    slot.cookie = socket_cookie(fd);
    slot.bytes = 0;
    slot.file.state = ledger::FileState::kNone;
    slot.state = ledger::SlotState::kOpen;
    return slot;
  }

  /// The content of the only file that there is.
  std::string only_file() const {
    const auto names = dir.names();
    return names.size() == 1 ? file_content(dir / names.front())
                             : std::to_string(names.size()) + " files";
  }

  TempDir dir;
  UniqueFd memory;
  ledger::Ledger ledger;
  StreamConfig config;
  std::unique_ptr<StreamService> service;
  std::unique_ptr<Intake> intake;
};

/// Until `count` bytes wait to be read.
inline bool arrived(int fd, std::size_t count) {
  return eventually([&] { return bytes_waiting_in(fd) == count; });
}

/// Until a FIN or a RST has come.
inline bool ended(int fd) { return wait_for(fd, POLLRDHUP); }

}  // namespace serverd::test
