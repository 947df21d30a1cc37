#include "worker/monitor/monitor_service.h"

#include "common/printable.h"
#include "worker/monitor/monitor_text.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace serverd {
namespace {

using ledger::Cause;

/// Escaped, a byte becomes four at most; the rest of a line is short.
constexpr std::size_t kLongestPiece = 960;

// Word of a slot.
constexpr std::size_t kAnnounced = 0;  ///< the line that says that it was established

class MonitorSession final : public Session {
 public:
  MonitorSession(LineOutput& output, const SocketAddress& peer)
      : output_(output), peer_(monitor::peer_text(peer)) {}

  Taken on_bytes(std::span<const std::byte> bytes, bool last) noexcept override {
    std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    Taken taken;
    while (!rest.empty()) {
      const monitor::Piece piece = monitor::next_piece(rest, kLongestPiece, last);
      if (piece.length == 0) break;
      // A line whose beginning was shown already may end with nothing more.
      const bool nothing_new = within_line_ && piece.text.empty();
      if (!nothing_new && !show(piece.text)) {
        taken.blocked = true;
        break;
      }
      within_line_ = !piece.whole_line;
      taken.protocol += piece.length;
      rest.remove_prefix(piece.length);
    }
    return taken;
  }

  bool leaves_bytes() const noexcept override { return true; }

  void on_end(Cause cause, std::error_code error) noexcept override {
    const std::string how = cause == Cause::kEof     ? "closed"
                            : cause == Cause::kReset ? "failed: " + error.message()
                            : cause == Cause::kIdle  ? "ended: nothing came for too long"
                                                     : "ended by the server";
    output_.write_later(fmt::format("Connection from {} {}.\n", peer_, how));
  }

 private:
  bool show(std::string_view text) {
    return output_.write(fmt::format("Received from {}: {}\n", peer_, printable(text)));
  }

  LineOutput& output_;
  std::string peer_;
  bool within_line_ = false;
};

}  // namespace

/// Said once in a port's life, not by every worker.
void MonitorService::on_serving(std::span<const SocketAddress> addresses) {
  if (ledger_.header().generation > 1) return;
  for (const SocketAddress& address : addresses)
    output_.write_later(fmt::format("Listening on {}...\n", address.to_string()));
}

std::unique_ptr<Session> MonitorService::open(ledger::Slot& slot) { return resume(slot); }

std::unique_ptr<Session> MonitorService::resume(ledger::Slot& slot) {
  const SocketAddress peer = slot.peer.to_address();
  if (slot.protocol[kAnnounced] == 0)
    output_.write_later(fmt::format("Connection from {} established.\n", monitor::peer_text(peer)));
  slot.protocol[kAnnounced] = 1;
  return std::make_unique<MonitorSession>(output_, peer);
}

std::error_code MonitorService::retry() noexcept {
  return output_.flush() ? std::error_code{}
                         : std::make_error_code(std::errc::resource_unavailable_try_again);
}

}  // namespace serverd
