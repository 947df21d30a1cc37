#pragma once

#include "common/ledger.h"
#include "common/os/memfd.h"
#include "tests/support/temp_dir.h"
#include "worker/accio/accio_service.h"
#include "worker/intake.h"

#include <memory>
#include <string>
#include <string_view>

namespace serverd::test {

inline constexpr std::string_view kAccioConfirms = "confirm-accio\r\nconfirm-accio-again\r\n\r\n";
inline constexpr std::string_view kAccioConfirmsOnce = kAccioConfirms.substr(0, 15);

/// What is due for a client that sends `sent` and then finishes, straight from the specification.
struct AccioDue {
  std::string file;
  std::string greetings;
};
inline AccioDue accio_due(std::string_view sent, AccioHandshake handshake) {
  const std::string once = "accio\r\n";
  if (handshake == AccioHandshake::kNone) return {std::string(sent), once};
  const std::string greetings = sent.starts_with(kAccioConfirmsOnce) ? once + once : once;
  if (sent.starts_with(kAccioConfirms))
    return {std::string(sent.substr(kAccioConfirms.size())), greetings};
  if (sent == kAccioConfirmsOnce || sent.empty()) return {"", greetings};
  return {handshake == AccioHandshake::kRequired ? "ERROR" : std::string(sent), greetings};
}

/// One port of the accio service without a process: ledger, directory and, replaced by `die`, what
/// a worker has in its memory.
struct AccioRig {
  explicit AccioRig(AccioHandshake handshake = AccioHandshake::kAuto, bool replace_existing = false)
      : memory(ledger::create(5000, "accio", 4)),
        ledger(memory.get(), Mapping::Access::kReadWrite),
        config{dir.path(), handshake, replace_existing} {
    die();
  }

  void die(std::size_t chunk_size = Intake::kChunkSize) {
    service = std::make_unique<AccioService>(config, ledger);
    intake = std::make_unique<Intake>(ledger, chunk_size);
  }

  /// What a worker writes down of a connection that it has accepted.
  ledger::Slot& fill(std::uint32_t index, std::uint64_t cookie) {
    ledger::Slot& slot = ledger.slots()[index];
    slot.id = ledger.header().next_connection_id++;
    slot.cookie = cookie;
    slot.bytes = 0;
    for (ledger::Word& word : slot.protocol) word = 0;
    slot.file.state = ledger::FileState::kNone;
    slot.state = ledger::SlotState::kOpen;
    return slot;
  }

  std::string file(std::uint64_t number) const {
    return file_content(dir / (std::to_string(number) + ".file"));
  }

  TempDir dir;
  UniqueFd memory;
  ledger::Ledger ledger;
  AccioConfig config;
  std::unique_ptr<AccioService> service;
  std::unique_ptr<Intake> intake;
};

/// Everything that the session has to say to its peer.
inline std::string all_output(Session& session) {
  std::string text;
  for (;;) {
    const auto more = session.output(text.size());
    if (more.empty()) return text;
    text.append(reinterpret_cast<const char*>(more.data()), more.size());
  }
}

}  // namespace serverd::test
