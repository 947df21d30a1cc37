#include "worker/stream/stream_service.h"

#include <fmt/format.h>

#include <ctime>

namespace serverd {
namespace {

std::string file_name(const std::string& stem, unsigned attempt) {
  return attempt == 0 ? stem + ".bin" : fmt::format("{}-{}.bin", stem, attempt);
}

class SharedFileSession final : public Session {
 public:
  explicit SharedFileSession(Sink& sink) : sink_(sink) {}
  Taken on_bytes(std::span<const std::byte> bytes, bool) noexcept override {
    return {.payload = bytes.size()};
  }
  Sink* sink() noexcept override { return &sink_; }

 private:
  Sink& sink_;
};

class OwnFileSession final : public Session {
 public:
  OwnFileSession(OutputDirectory& directory, ledger::FileRecord& record, Sink::Namer namer)
      : sink_(directory, record, std::move(namer)) {}
  Taken on_bytes(std::span<const std::byte> bytes, bool) noexcept override {
    return {.payload = bytes.size()};
  }
  Sink* sink() noexcept override { return &sink_; }

 private:
  Sink sink_;
};

}  // namespace

StreamService::StreamService(const StreamConfig& config, std::uint16_t port, ledger::Ledger& ledger)
    : file_per_connection_(config.file_per_connection),
      port_(port),
      directory_(config.output),
      shared_(directory_, ledger.output(),
              [this](unsigned attempt) { return file_name(stem(), attempt); }) {}

std::string StreamService::stem() const {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char time_text[32];
  std::strftime(time_text, sizeof time_text, "%Y%m%d_%H%M%S", &local);
  return fmt::format("stream_{}_{}", port_, time_text);
}

std::unique_ptr<Session> StreamService::open(ledger::Slot& slot) {
  std::unique_ptr<Session> session = resume(slot);
  shared_wanted_ = shared_wanted_ || !file_per_connection_;
  // A file that cannot be created now is tried again when bytes come, and on the retry timer.
  static_cast<void>(session->sink()->open());
  return session;
}

std::unique_ptr<Session> StreamService::resume(ledger::Slot& slot) {
  if (!file_per_connection_) return std::make_unique<SharedFileSession>(shared_);
  return std::make_unique<OwnFileSession>(
      directory_, slot.file, [this, id = slot.id.load()](unsigned attempt) {
        return file_name(fmt::format("{}_{}", stem(), id), attempt);
      });
}

void StreamService::rotate() noexcept {
  if (file_per_connection_) return;
  shared_.next_file();
  shared_wanted_ = false;
}

std::error_code StreamService::retry() noexcept {
  return shared_wanted_ ? shared_.open() : std::error_code{};
}

}  // namespace serverd
