#include "worker/accio/accio_service.h"

#include "common/log.h"
#include "worker/accio/handshake.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>
#include <string_view>

namespace serverd {
namespace {

using accio::Verdict;

constexpr std::string_view kFileSuffix = ".file";
constexpr std::string_view kErrorText = "ERROR";

// Words of a slot.
constexpr std::size_t kNumber = 0;  ///< of the connection's file; 0: not given yet
constexpr std::size_t kFlags = 1;
constexpr std::uint64_t kGreetedAgain = 1;  ///< the second greeting is due
constexpr std::uint64_t kFailed = 2;        ///< the file is to hold "ERROR"
// Words of the port.
constexpr std::size_t kNextNumber = 0;  ///< 0: not found out yet

std::string file_name(std::uint64_t number) { return fmt::format("{}{}", number, kFileSuffix); }

/// N of "N.file"; 0 for any other name, and for one that no number follows.
std::uint64_t number_in(const std::string& name) noexcept {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool ours = error == std::errc() && std::string_view(end) == kFileSuffix;
  return ours && number < std::numeric_limits<std::uint64_t>::max() ? number : 0;
}

std::uint64_t highest_number_in(const std::string& directory) {
  std::uint64_t highest = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error))
    highest = std::max(highest, number_in(entry->path().filename().string()));
  return highest;
}

class AccioSession final : public Session {
 public:
  AccioSession(const AccioConfig& config, OutputDirectory& directory, ledger::Slot& slot,
               Sink::Namer namer)
      : handshake_(config.handshake),
        slot_(slot),
        sink_(directory, slot.file, std::move(namer),
              config.replace_existing ? Sink::Existing::kReplaced : Sink::Existing::kKept) {
    if (has(kFailed)) write_error();  // perhaps for the second time
  }

  Taken on_bytes(std::span<const std::byte> bytes, bool last) noexcept override {
    if (has(kFailed)) return {.protocol = bytes.size()};
    // While nothing was taken the handshake is not over.
    if (handshake_ == AccioHandshake::kNone || slot_.bytes > 0) return {.payload = bytes.size()};
    return shake_hands(bytes, last);
  }

  Sink* sink() noexcept override { return &sink_; }
  bool leaves_bytes() const noexcept override { return true; }
  bool answers() const noexcept override { return true; }

  std::span<const std::byte> output(std::uint64_t sent) noexcept override {
    static constexpr std::string_view kTwice = "accio\r\naccio\r\n";
    const std::string_view due = kTwice.substr(0, has(kGreetedAgain) ? 14 : 7);
    return std::as_bytes(std::span(due.substr(std::min<std::uint64_t>(sent, due.size()))));
  }

  void on_idle() noexcept override { fail("the client was silent"); }

  /// A file is due even to a connection that never sent a byte.
  void on_end(ledger::Cause, std::error_code) noexcept override {
    if (sink_.recorded() || has(kFailed)) return;
    if (const std::error_code error = sink_.open())
      log::error("{} cannot be created: {}", file_name(slot_.protocol[kNumber]), error.message());
  }

 private:
  bool has(std::uint64_t flag) const noexcept { return (slot_.protocol[kFlags] & flag) != 0; }

  Taken shake_hands(std::span<const std::byte> bytes, bool last) noexcept {
    const accio::HandshakeResult result = accio::judge_handshake(bytes, last);
    if (result.greet_again) slot_.protocol[kFlags] |= kGreetedAgain;
    switch (result.verdict) {
      case Verdict::kUndecided:
        return {};
      case Verdict::kHandshake:
        return {.protocol = result.confirmations, .payload = bytes.size() - result.confirmations};
      case Verdict::kFileFromStart:
        if (handshake_ != AccioHandshake::kRequired) return {.payload = bytes.size()};
        fail("the client did not confirm");
        return {.protocol = bytes.size()};
    }
    return {};
  }

  void fail(std::string_view why) noexcept {
    slot_.protocol[kFlags] |= kFailed;
    log::warning("{}: {}; the file holds {}", sink_.path(), why, kErrorText);
    write_error();
  }

  void write_error() noexcept {
    if (const std::error_code error = sink_.replace_content(kErrorText))
      log::error("{}: {} cannot be written: {}", sink_.path(), kErrorText, error.message());
  }

  AccioHandshake handshake_;
  ledger::Slot& slot_;
  Sink sink_;
};

}  // namespace

AccioService::AccioService(const AccioConfig& config, ledger::Ledger& ledger)
    : config_(config), ledger_(ledger), directory_(config.output) {
  find_next_number();
}

/// A worker may have died between giving a number to a connection and counting on.
void AccioService::find_next_number() {
  ledger::Word& next = ledger_.protocol_words()[kNextNumber];
  if (next == 0) next = 1 + (config_.replace_existing ? 0 : highest_number_in(config_.output));
  for (const ledger::Slot& slot : ledger_.slots())
    if (slot.state != ledger::SlotState::kFree)
      next = std::max<std::uint64_t>(next, slot.protocol[kNumber] + 1);
}

std::uint64_t AccioService::take_number(ledger::Slot& slot) noexcept {
  ledger::Word& next = ledger_.protocol_words()[kNextNumber];
  slot.protocol[kNumber] = next.load();
  next = slot.protocol[kNumber] + 1;
  return slot.protocol[kNumber];
}

std::unique_ptr<Session> AccioService::open(ledger::Slot& slot) {
  std::unique_ptr<Session> session = resume(slot);
  static_cast<void>(session->sink()->open());
  return session;
}

std::unique_ptr<Session> AccioService::resume(ledger::Slot& slot) {
  if (slot.protocol[kNumber] == 0) take_number(slot);
  return std::make_unique<AccioSession>(config_, directory_, slot, [this, &slot](unsigned attempt) {
    // A file of that name that came from elsewhere: its number is used up.
    return file_name(attempt == 0 ? slot.protocol[kNumber].load() : take_number(slot));
  });
}

/// Files are opened by the connections themselves; whether there is room shows when they write.
std::error_code AccioService::retry() noexcept { return {}; }

}  // namespace serverd
