#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace serverd::chat {

/// A recipient's messages. Positive: of a name, which stays; negative: of a connected client
/// without one, the number of its connection; 0: none.
using MailboxId = std::int64_t;

struct MailboxRow {
  MailboxId id = 0;
  std::string name;
  bool group = false;     ///< another server's id, or our own
  std::int64_t seen = 0;  ///< seconds since 1970: when it was last connected or written to
  std::size_t messages = 0;
  std::size_t waiting = 0;  ///< of these, how many are not on their way to a reader
  MailboxId via = 0;        ///< of a group: the server that has said that it knows it
};

struct MessageRow {
  std::uint64_t id = 0;  ///< grows from message to message
  std::string_view sender;
  std::string_view content;
  std::int64_t stored_at = 0;  ///< seconds since 1970
  bool from_peer = false;
  std::uint64_t reader = 0;   ///< cookie of the connection that it is on its way to; 0: none
  std::uint64_t sent_at = 0;  ///< it is sent when so many bytes of that connection's output are
};

/// What a connection's session must know after its worker's death.
struct SessionRow {
  std::uint64_t cookie = 0;
  std::uint64_t taken = 0;   ///< bytes of its input that have had their effect
  std::uint64_t output = 0;  ///< bytes of output that it has been given
  unsigned framing = 0;
  bool skipping = false;
  bool peer = false;
  bool introduced = false;  ///< as a peer, by us
  bool leaving = false;
  MailboxId mailbox = 0;  ///< of the name it has
  int peer_port = -1;     ///< where it listens, as it says
  MailboxId reading = 0;  ///< a mailbox that it is being given
  std::uint64_t read_from = 0;
  std::uint64_t read_to = 0;  ///< message ids; the end is not included
  std::uint64_t read_count = 0;
  std::string partial{};  ///< the beginning of a command, taken from the socket

  bool operator==(const SessionRow&) const = default;
};

/// Messages, recipients and sessions in one SQLite database (write-ahead log, synchronous=NORMAL: a
/// worker's death loses nothing that was committed, a power failure may lose the last moments but
/// never tears). One process has it open. Changes belong to a transaction that begins with the
/// first of them; one that fails makes `commit` fail, which undoes all of them.
class ChatStore final {
 public:
  /// `path` may be ":memory:". Throws std::system_error naming it.
  explicit ChatStore(const std::string& path);
  ~ChatStore();
  ChatStore(const ChatStore&) = delete;
  ChatStore& operator=(const ChatStore&) = delete;

  bool changed() const noexcept { return in_transaction_; }
  std::error_code commit() noexcept;

  // Asking throws std::system_error.

  /// Those of clients without a name only where there are messages for them.
  std::vector<MailboxRow> mailboxes();
  std::vector<SessionRow> sessions();
  std::uint64_t next_message_id();
  struct OutputPart {
    std::uint64_t start;
    std::string bytes;
  };
  std::vector<OutputPart> outputs(std::uint64_t cookie);
  struct OnTheWay {
    MailboxId mailbox;
    std::uint64_t id;
    std::uint64_t sent_at;
  };
  /// Messages on their way to a connection, in the order of its output.
  std::vector<OnTheWay> on_the_way(std::uint64_t cookie);
  /// Waiting messages of a mailbox with ids in [from, to), oldest first, until `visit` gives false.
  void for_each_waiting(MailboxId mailbox, std::uint64_t from, std::uint64_t to,
                        const std::function<bool(const MessageRow&)>& visit);

  MailboxId add_mailbox(std::string_view name, bool group, std::int64_t now) noexcept;
  void update_mailbox(MailboxId id, bool group, std::int64_t now, MailboxId via) noexcept;
  void remove_mailbox(MailboxId id) noexcept;

  void add_message(MailboxId mailbox, const MessageRow& message) noexcept;
  /// No message gets an id up to `last_id` again.
  void count_messages(std::uint64_t last_id) noexcept;
  void mark_message(MailboxId mailbox, std::uint64_t id, std::uint64_t reader,
                    std::uint64_t sent_at) noexcept;
  void remove_message(MailboxId mailbox, std::uint64_t id) noexcept;
  void remove_messages(MailboxId mailbox) noexcept;
  /// Those that wait and are older than `before`; gives how many.
  std::size_t expire_messages(MailboxId mailbox, std::int64_t before);

  void save_session(const SessionRow& session) noexcept;
  void add_output(std::uint64_t cookie, std::uint64_t start, std::string_view bytes) noexcept;
  /// Parts that are over before `end`.
  void remove_outputs(std::uint64_t cookie, std::uint64_t end) noexcept;
  void remove_session(std::uint64_t cookie) noexcept;

 private:
  class Statement;
  struct Database;
  void change(Statement& statement) noexcept;
  void begin() noexcept;
  void insert_gathered() noexcept;

  std::unique_ptr<Database> database_;
  bool in_transaction_ = false;
  int first_error_ = 0;  ///< of this transaction
};

}  // namespace serverd::chat
