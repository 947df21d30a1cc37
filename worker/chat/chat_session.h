#pragma once

#include "common/loop/loop.h"
#include "common/wire/tsam_command.h"
#include "common/wire/tsam_frame.h"
#include "worker/chat/chat_store.h"
#include "worker/chat/output.h"
#include "worker/session.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace serverd {
class ChatService;
}

namespace serverd::chat {

struct Mailbox;

/// One connection of the chat service: a client, or, once it has said HELO with its id, a link to
/// another server. Everything it must know stands in the store; what this holds is a copy. It takes
/// commands off the stream and gathers output, and the service knows what they mean.
class ChatSession final : public Session {
 public:
  /// Bytes of requests that are taken in one turn, so that nobody keeps the others waiting.
  static constexpr std::size_t kMostAtOnce = 65'536;
  /// Bytes of output at which no more requests are taken.
  static constexpr std::size_t kCrowded = 65'536;
  /// Bytes of output that nobody reads, at which the connection ends.
  static constexpr std::size_t kTooSlow = 262'144;

  /// `slot` is the ledger's `slot_index`. Puts itself on the service's list.
  ChatSession(ChatService& service, ledger::Slot& slot, std::uint32_t slot_index);
  ~ChatSession() override;

  Taken on_bytes(std::span<const std::byte> bytes, bool last) noexcept override;
  bool answers() const noexcept override { return true; }
  std::span<const std::byte> output(std::uint64_t sent) noexcept override;
  bool more_output() const noexcept override {
    return state.reading != 0 || !out.uncommitted().empty();
  }
  void on_eof() noexcept override;
  std::optional<ledger::Cause> ending() const noexcept override { return ending_for; }
  void on_deaf() noexcept override;
  bool opened_by_us() const noexcept override;
  void on_end(ledger::Cause cause, std::error_code error) noexcept override;

  ledger::Slot& slot() const noexcept { return slot_; }
  std::uint32_t slot_index() const noexcept { return slot_index_; }
  std::uint64_t number() const noexcept { return slot_.id; }
  tsam::Framing framing() const noexcept { return static_cast<tsam::Framing>(state.framing); }
  /// Whether it can be given something.
  bool listens() const noexcept { return !ended && !deaf_ && !ending_for; }
  /// The peer has finished, and nobody will show its last bytes again.
  bool heard_all() const noexcept { return heard_all_; }
  /// Appends a command to the output.
  void say(std::string_view command);
  /// Of the output, what stands behind `sent_at` is this message.
  struct OnTheWay {
    Mailbox* mailbox;
    std::uint64_t id;
    std::uint64_t sent_at;
  };

  // For the service, which alone changes them.
  SessionRow state;            ///< as it is to be saved; `taken` counts what was done
  Mailbox* mailbox = nullptr;  ///< of its name; null: it has none
  Output out;
  std::vector<OnTheWay> on_the_way;
  std::optional<ledger::Cause> ending_for;
  std::optional<std::uint64_t> place;  ///< in the peer book
  Clock::time_point kept_alive_at{};   ///< when KEEPALIVE was last said to it
  bool outgoing = false;
  bool touched = false;  ///< to be saved
  bool saved = false;    ///< there is something of it in the store
  bool ended = false;
  bool dirty_output = false;  ///< parts in the store that may be over

 private:
  std::size_t take_fresh(std::string_view fresh, bool last, bool& crowded);
  std::size_t take_commands(std::string_view bytes, bool last, bool& crowded);
  void drop_delivered(std::uint64_t sent) noexcept;

  ChatService& service_;
  ledger::Slot& slot_;
  std::uint32_t slot_index_;
  bool deaf_ = false;
  bool heard_all_ = false;
};

}  // namespace serverd::chat
