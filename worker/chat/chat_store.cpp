#include "worker/chat/chat_store.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include <sqlite3.h>

namespace serverd::chat {
namespace {

class SqliteCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "sqlite"; }
  std::string message(int code) const override { return sqlite3_errstr(code); }
};

std::error_code sqlite_error(int code) noexcept {
  static const SqliteCategory category;
  return {code, category};
}

[[noreturn]] void fail(int code, const std::string& what) {
  throw std::system_error(sqlite_error(code), what);
}

constexpr const char* kSettings =
    "PRAGMA locking_mode=EXCLUSIVE;"
    "PRAGMA page_size=8192;"
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=NORMAL;"
    "PRAGMA wal_autocheckpoint=2000;"
    "PRAGMA temp_store=MEMORY;";

constexpr int kSchemaVersion = 1;
// Messages lie in the order of their mailboxes: putting one in and taking a mailbox out touch one
// place. `reader` and `sent_at`: see MessageRow.
constexpr const char* kSchema =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS mailboxes(id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " name TEXT NOT NULL UNIQUE, is_group INTEGER NOT NULL, seen INTEGER NOT NULL,"
    " via INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS messages(mailbox INTEGER NOT NULL, id INTEGER NOT NULL,"
    " sender TEXT NOT NULL, content BLOB NOT NULL, stored_at INTEGER NOT NULL,"
    " from_peer INTEGER NOT NULL, reader INTEGER NOT NULL, sent_at INTEGER NOT NULL,"
    " PRIMARY KEY(mailbox, id)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS on_the_way ON messages(reader, sent_at) WHERE reader <> 0;"
    "CREATE TABLE IF NOT EXISTS sessions(cookie INTEGER PRIMARY KEY, taken INTEGER NOT NULL,"
    " output INTEGER NOT NULL, framing INTEGER NOT NULL, skipping INTEGER NOT NULL,"
    " peer INTEGER NOT NULL, introduced INTEGER NOT NULL, leaving INTEGER NOT NULL,"
    " mailbox INTEGER NOT NULL, peer_port INTEGER NOT NULL, reading INTEGER NOT NULL,"
    " read_from INTEGER NOT NULL, read_to INTEGER NOT NULL, read_count INTEGER NOT NULL,"
    " partial BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS outputs(cookie INTEGER NOT NULL, start INTEGER NOT NULL,"
    " bytes BLOB NOT NULL, PRIMARY KEY(cookie, start)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS last_message(id INTEGER NOT NULL);"
    "INSERT INTO last_message SELECT 0 WHERE NOT EXISTS (SELECT * FROM last_message);"
    "PRAGMA user_version=1;"
    "COMMIT;";

struct Closer {
  void operator()(sqlite3* database) const noexcept { sqlite3_close_v2(database); }
};
using Handle = std::unique_ptr<sqlite3, Closer>;

void run(sqlite3* database, const char* sql, const std::string& path) {
  const int code = sqlite3_exec(database, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code, "database " + path);
}

void require_version(sqlite3* database, const std::string& path) {
  int found = 0;
  const auto take = [](void* result, int, char** values, char**) {
    *static_cast<int*>(result) = std::atoi(values[0]);
    return 0;
  };
  if (const int code = sqlite3_exec(database, "PRAGMA user_version", take, &found, nullptr))
    fail(code, "database " + path);
  if (found == 0 || found == kSchemaVersion) return;
  throw std::system_error(ENOTSUP, std::generic_category(),
                          "database " + path + ": layout version " + std::to_string(found));
}

/// With its tables.
Handle open_database(const std::string& path) {
  // Nobody asks how much memory SQLite uses; counting it costs a lock for each piece.
  static const int without_counting = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  static_cast<void>(without_counting);
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &raw,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Handle database(raw);
  if (code != SQLITE_OK) fail(code, "database " + path);
  // A worker that is on its way out may still hold the lock.
  sqlite3_busy_timeout(raw, 5000);
  run(raw, kSettings, path);
  require_version(raw, path);
  run(raw, kSchema, path);
  return database;
}

}  // namespace

/// Content, which need not be text.
struct Bytes {
  std::string_view bytes;
};

/// A prepared statement. Parameters count from 1 and columns from 0, as in SQLite.
class ChatStore::Statement final {
 public:
  Statement(const Handle& database, const char* sql) {
    const int code = sqlite3_prepare_v3(database.get(), sql, -1, SQLITE_PREPARE_PERSISTENT,
                                        &statement_, nullptr);
    if (code != SQLITE_OK) fail(code, std::string("prepare ") + sql);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  /// Texts are borrowed until the statement has run.
  template <typename... Values>
  Statement& with(const Values&... values) noexcept {
    return with_from(1, values...);
  }
  /// From parameter `index` on.
  template <typename... Values>
  Statement& with_from(int index, const Values&... values) noexcept {
    (bind(index++, values), ...);
    return *this;
  }
  /// Runs to its end; gives SQLITE_DONE or an error.
  int run() noexcept {
    int code = SQLITE_ROW;
    while ((code = sqlite3_step(statement_)) == SQLITE_ROW) {
    }
    sqlite3_reset(statement_);
    return code;
  }
  /// Calls `visit` for each row until it gives false.
  template <typename Visit>
  void rows(Visit visit) {
    int code = SQLITE_ROW;
    while ((code = sqlite3_step(statement_)) == SQLITE_ROW && visit()) {
    }
    sqlite3_reset(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) fail(code, "reading the database");
  }

  template <typename Value = std::uint64_t>
  Value number(int column) const noexcept {
    return static_cast<Value>(sqlite3_column_int64(statement_, column));
  }
  bool flag(int column) const noexcept { return sqlite3_column_int64(statement_, column) != 0; }
  std::string_view text(int column) const noexcept {
    const void* bytes = sqlite3_column_blob(statement_, column);
    return {static_cast<const char*>(bytes),
            static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }

 private:
  template <typename Number>
  void bind(int index, Number value) noexcept {
    sqlite3_bind_int64(statement_, index, static_cast<sqlite3_int64>(value));
  }
  // Never a null pointer, which would be NULL.
  void bind(int index, std::string_view text) noexcept {
    sqlite3_bind_text64(statement_, index, text.empty() ? "" : text.data(), text.size(),
                        SQLITE_STATIC, SQLITE_UTF8);
  }
  void bind(int index, Bytes content) noexcept {
    sqlite3_bind_blob64(statement_, index, content.bytes.empty() ? "" : content.bytes.data(),
                        content.bytes.size(), SQLITE_STATIC);
  }

  sqlite3_stmt* statement_ = nullptr;
};

namespace {

/// Messages that one statement inserts, which has costs of its own.
constexpr std::size_t kGathered = 16;

std::string insert_of(std::size_t messages) {
  std::string sql = "INSERT INTO messages VALUES";
  for (std::size_t i = 0; i < messages; ++i)
    sql += i == 0 ? "(?,?,?,?,?,?,?,?)" : ",(?,?,?,?,?,?,?,?)";
  return sql;
}

struct Gathered {
  MailboxId mailbox = 0;
  MessageRow message;  ///< of views into `text`
  std::string text;    ///< sender, then content
};

}  // namespace

struct ChatStore::Database {
  explicit Database(const std::string& path) : handle(open_database(path)) {}

  Handle handle;
  Statement begin{handle, "BEGIN IMMEDIATE"};
  Statement commit{handle, "COMMIT"};
  Statement roll_back{handle, "ROLLBACK"};
  Statement mailboxes{handle,
                      "SELECT m.id, m.name, m.is_group, m.seen, COALESCE(c.n, 0),"
                      " COALESCE(c.waiting, 0), m.via FROM mailboxes m LEFT JOIN"
                      " (SELECT mailbox, COUNT(*) n, SUM(reader = 0) waiting FROM messages"
                      " GROUP BY mailbox) c ON c.mailbox = m.id"
                      " UNION ALL SELECT mailbox, '', 0, 0, COUNT(*), SUM(reader = 0), 0"
                      " FROM messages WHERE mailbox < 0 GROUP BY mailbox"};
  Statement sessions{
      handle,
      "SELECT cookie, taken, output, framing, skipping, peer, introduced, leaving,"
      " mailbox, peer_port, reading, read_from, read_to, read_count, partial FROM sessions"};
  Statement last_message{handle, "SELECT id FROM last_message"};
  Statement outputs{handle, "SELECT start, bytes FROM outputs WHERE cookie = ? ORDER BY start"};
  Statement on_the_way{handle,
                       "SELECT mailbox, id, sent_at FROM messages WHERE reader = ? AND reader <> 0"
                       " ORDER BY sent_at"};
  Statement waiting{handle,
                    "SELECT id, sender, content, stored_at, from_peer FROM messages"
                    " WHERE mailbox = ? AND id >= ? AND id < ? AND reader = 0 ORDER BY id"};
  Statement add_mailbox{handle, "INSERT INTO mailboxes(name, is_group, seen) VALUES(?, ?, ?)"};
  Statement update_mailbox{handle,
                           "UPDATE mailboxes SET is_group = ?, seen = ?, via = ? WHERE id = ?"};
  Statement remove_mailbox{handle, "DELETE FROM mailboxes WHERE id = ?"};
  Statement add_message{handle, insert_of(1).c_str()};
  Statement add_messages{handle, insert_of(kGathered).c_str()};
  Statement count_message{handle, "UPDATE last_message SET id = ?"};
  Statement mark_message{
      handle, "UPDATE messages SET reader = ?, sent_at = ? WHERE mailbox = ? AND id = ?"};
  Statement remove_message{handle, "DELETE FROM messages WHERE mailbox = ? AND id = ?"};
  Statement remove_messages{handle, "DELETE FROM messages WHERE mailbox = ?"};
  Statement oldest{handle,
                   "SELECT id, stored_at FROM messages WHERE mailbox = ? AND reader = 0"
                   " ORDER BY id"};
  Statement expire{handle, "DELETE FROM messages WHERE mailbox = ? AND id <= ? AND reader = 0"};
  Statement save_session{
      handle,
      "INSERT OR REPLACE INTO sessions VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"};
  Statement add_output{handle, "INSERT OR REPLACE INTO outputs VALUES(?, ?, ?)"};
  Statement remove_outputs{
      handle, "DELETE FROM outputs WHERE cookie = ? AND start < ? AND start + length(bytes) <= ?"};
  Statement remove_all_outputs{handle, "DELETE FROM outputs WHERE cookie = ?"};
  Statement remove_session{handle, "DELETE FROM sessions WHERE cookie = ?"};

  std::array<Gathered, kGathered> gathered;  ///< to be inserted before anything else is done
  std::size_t gathered_count = 0;
};

ChatStore::ChatStore(const std::string& path) : database_(std::make_unique<Database>(path)) {}

ChatStore::~ChatStore() = default;

void ChatStore::begin() noexcept {
  if (std::exchange(in_transaction_, true)) return;
  const int code = database_->begin.run();
  if (code != SQLITE_DONE) first_error_ = code;
}

void ChatStore::change(Statement& statement) noexcept {
  begin();
  insert_gathered();
  if (first_error_ != 0) return;
  const int code = statement.run();
  if (code != SQLITE_DONE) first_error_ = code;
}

void ChatStore::insert_gathered() noexcept {
  const std::size_t count = std::exchange(database_->gathered_count, 0);
  const bool all = count == kGathered;
  Statement& statement = all ? database_->add_messages : database_->add_message;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [mailbox, message, text] = database_->gathered[i];
    statement.with_from(all ? static_cast<int>(i) * 8 + 1 : 1, mailbox, message.id, message.sender,
                        Bytes{message.content}, message.stored_at, message.from_peer,
                        message.reader, message.sent_at);
    if (first_error_ != 0 || (all && i + 1 < count)) continue;
    const int code = statement.run();
    if (code != SQLITE_DONE) first_error_ = code;
  }
}

std::error_code ChatStore::commit() noexcept {
  if (!in_transaction_) return {};
  insert_gathered();
  if (first_error_ == 0) {
    const int code = database_->commit.run();
    if (code != SQLITE_DONE) first_error_ = code;
  }
  in_transaction_ = false;
  if (first_error_ == 0) return {};
  // Some errors have undone the transaction already.
  if (sqlite3_get_autocommit(database_->handle.get()) == 0) database_->roll_back.run();
  return sqlite_error(std::exchange(first_error_, 0));
}

std::vector<MailboxRow> ChatStore::mailboxes() {
  insert_gathered();
  std::vector<MailboxRow> found;
  Statement& row = database_->mailboxes;
  row.rows([&] {
    found.push_back({row.number<MailboxId>(0), std::string(row.text(1)), row.flag(2),
                     row.number<std::int64_t>(3), row.number(4), row.number(5),
                     row.number<MailboxId>(6)});
    return true;
  });
  return found;
}

std::vector<SessionRow> ChatStore::sessions() {
  std::vector<SessionRow> found;
  Statement& row = database_->sessions;
  row.rows([&] {
    found.push_back({row.number(0), row.number(1), row.number(2), row.number<unsigned>(3),
                     row.flag(4), row.flag(5), row.flag(6), row.flag(7), row.number<MailboxId>(8),
                     row.number<int>(9), row.number<MailboxId>(10), row.number(11), row.number(12),
                     row.number(13), std::string(row.text(14))});
    return true;
  });
  return found;
}

std::uint64_t ChatStore::next_message_id() {
  std::uint64_t last = 0;
  Statement& row = database_->last_message;
  row.rows([&] {
    last = row.number(0);
    return false;
  });
  return last + 1;
}

std::vector<ChatStore::OutputPart> ChatStore::outputs(std::uint64_t cookie) {
  std::vector<OutputPart> found;
  Statement& row = database_->outputs.with(cookie);
  row.rows([&] {
    found.push_back({row.number(0), std::string(row.text(1))});
    return true;
  });
  return found;
}

std::vector<ChatStore::OnTheWay> ChatStore::on_the_way(std::uint64_t cookie) {
  insert_gathered();
  std::vector<OnTheWay> found;
  Statement& row = database_->on_the_way.with(cookie);
  row.rows([&] {
    found.push_back({row.number<MailboxId>(0), row.number(1), row.number(2)});
    return true;
  });
  return found;
}

void ChatStore::for_each_waiting(MailboxId mailbox, std::uint64_t from, std::uint64_t to,
                                 const std::function<bool(const MessageRow&)>& visit) {
  insert_gathered();
  Statement& row = database_->waiting.with(mailbox, from, to);
  row.rows([&] {
    return visit(
        {row.number(0), row.text(1), row.text(2), row.number<std::int64_t>(3), row.flag(4)});
  });
}

MailboxId ChatStore::add_mailbox(std::string_view name, bool group, std::int64_t now) noexcept {
  change(database_->add_mailbox.with(name, group, now));
  return sqlite3_last_insert_rowid(database_->handle.get());
}

void ChatStore::update_mailbox(MailboxId id, bool group, std::int64_t now, MailboxId via) noexcept {
  change(database_->update_mailbox.with(group, now, via, id));
}

void ChatStore::remove_mailbox(MailboxId id) noexcept {
  change(database_->remove_mailbox.with(id));
}

void ChatStore::add_message(MailboxId mailbox, const MessageRow& message) noexcept {
  begin();
  Gathered& next = database_->gathered[database_->gathered_count++];
  next.mailbox = mailbox;
  next.message = message;
  next.text.assign(message.sender).append(message.content);
  next.message.sender = std::string_view(next.text).substr(0, message.sender.size());
  next.message.content = std::string_view(next.text).substr(message.sender.size());
  if (database_->gathered_count == kGathered) insert_gathered();
}

void ChatStore::count_messages(std::uint64_t last_id) noexcept {
  change(database_->count_message.with(last_id));
}

void ChatStore::mark_message(MailboxId mailbox, std::uint64_t id, std::uint64_t reader,
                             std::uint64_t sent_at) noexcept {
  change(database_->mark_message.with(reader, sent_at, mailbox, id));
}

void ChatStore::remove_message(MailboxId mailbox, std::uint64_t id) noexcept {
  change(database_->remove_message.with(mailbox, id));
}

void ChatStore::remove_messages(MailboxId mailbox) noexcept {
  change(database_->remove_messages.with(mailbox));
}

std::size_t ChatStore::expire_messages(MailboxId mailbox, std::int64_t before) {
  insert_gathered();
  std::size_t count = 0;
  std::uint64_t last = 0;
  Statement& row = database_->oldest.with(mailbox);
  row.rows([&] {
    if (row.number<std::int64_t>(1) >= before) return false;
    last = row.number(0);
    ++count;
    return true;
  });
  if (count > 0) change(database_->expire.with(mailbox, last));
  return count;
}

void ChatStore::save_session(const SessionRow& row) noexcept {
  change(database_->save_session.with(row.cookie, row.taken, row.output, row.framing, row.skipping,
                                      row.peer, row.introduced, row.leaving, row.mailbox,
                                      row.peer_port, row.reading, row.read_from, row.read_to,
                                      row.read_count, Bytes{row.partial}));
}

void ChatStore::add_output(std::uint64_t cookie, std::uint64_t start,
                           std::string_view bytes) noexcept {
  change(database_->add_output.with(cookie, start, Bytes{bytes}));
}

void ChatStore::remove_outputs(std::uint64_t cookie, std::uint64_t end) noexcept {
  change(database_->remove_outputs.with(cookie, end, end));
}

void ChatStore::remove_session(std::uint64_t cookie) noexcept {
  change(database_->remove_all_outputs.with(cookie));
  change(database_->remove_session.with(cookie));
}

}  // namespace serverd::chat
