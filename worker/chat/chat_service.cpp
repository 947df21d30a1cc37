#include "worker/chat/chat_service.h"

#include "common/log.h"

#include <algorithm>
#include <unordered_set>

#include <sys/resource.h>

namespace serverd {

using chat::ChatSession;
using chat::SessionRow;
using ledger::Cause;

namespace {

// Word of a slot.
constexpr std::size_t kOutgoing = 0;  ///< 1: it was we who connected

constexpr auto kFlushDelay = std::chrono::milliseconds(100);

std::vector<SocketAddress> addresses_of(const std::vector<std::string>& peers) {
  std::vector<SocketAddress> addresses;
  for (const std::string& peer : peers) {
    const std::size_t colon = peer.rfind(':');
    std::string host = peer.substr(0, colon);
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    const auto port = static_cast<std::uint16_t>(std::stoul(peer.substr(colon + 1)));
    if (const auto address = SocketAddress::from_host(host, port)) addresses.push_back(*address);
  }
  return addresses;
}

std::string database_path(const ChatConfig& config) {
  return config.database == ":memory:" ? config.database : config.output + "/" + config.database;
}

}  // namespace

double ChatService::process_cpu() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

ChatService::ChatService(const ChatConfig& config, std::uint16_t port, ledger::Ledger& ledger,
                         Environment environment)
    : config_(config),
      port_(port),
      ledger_(ledger),
      environment_(std::move(environment)),
      store_(database_path(config)),
      log_(config.output + "/server_log.txt"),
      book_(addresses_of(config.peers), config.max_peers, config.min_peers) {
  last_message_ = saved_last_message_ = store_.next_message_id() - 1;
  mailboxes_.reload(store_.mailboxes());
  mailboxes_.for_each([&](const Mailbox& mailbox) {
    messages_ += mailbox.messages;
    waiting_ += mailbox.waiting;
  });
  for (SessionRow& row : store_.sessions()) recovered_.emplace(row.cookie, row);
}

void ChatService::attach(ServiceHost& host) {
  host_ = &host;
  tick_.emplace(host.loop(), [this] { tick(); });
  flush_.emplace(host.loop(), [this] { host_->commit_soon(); });
}

/// By now every connection that survived has its session.
void ChatService::on_serving(std::span<const SocketAddress>) {
  remove_strays();
  make_own_mailbox();
  expired_ = measured_ = host_->loop().now();
  cpu_at_ = environment_.cpu();
  host_->commit_soon();
  tick();
}

/// What sessions of connections that are gone have left behind.
void ChatService::remove_strays() {
  std::unordered_set<std::uint64_t> alive;
  for (const auto& [number, session] : sessions_) alive.insert(session->state.cookie);
  for (const auto& [cookie, row] : recovered_) {
    if (alive.contains(cookie)) continue;
    Ended ended{cookie, 0, true, {}, row.mailbox};
    for (const auto& it : store_.on_the_way(cookie))
      if (Mailbox* mailbox = mailboxes_.find(it.mailbox))
        ended.on_the_way.push_back({mailbox, it.id, it.sent_at});
    ended_.push_back(std::move(ended));
  }
  recovered_.clear();
  mailboxes_.for_each([&](const Mailbox& mailbox) {
    const auto number = static_cast<std::uint64_t>(-mailbox.id);
    if (mailbox.id < 0 && !sessions_.contains(number)) ended_.push_back({0, number, true, {}, 0});
  });
}

// Sessions

std::unique_ptr<ChatSession> ChatService::make_session(ledger::Slot& slot) {
  const auto index = static_cast<std::uint32_t>(&slot - ledger_.slots().data());
  auto session = std::make_unique<ChatSession>(*this, slot, index);
  session->outgoing = slot.protocol[kOutgoing] == 1;
  session->state.peer = session->outgoing;
  return session;
}

std::unique_ptr<Session> ChatService::open(ledger::Slot& slot) { return make_session(slot); }

std::unique_ptr<Session> ChatService::resume(ledger::Slot& slot) {
  std::unique_ptr<ChatSession> session = make_session(slot);
  const auto found = recovered_.find(slot.cookie);
  restore(*session, found == recovered_.end() ? nullptr : &found->second);
  session->kept_alive_at = host_->loop().now();
  if (session->outgoing) {
    session->place = book_.resumed(slot.peer.to_address());
    if (session->place && session->mailbox != nullptr)
      book_.identified(*session->place, session->mailbox->name);
  }
  if (found == recovered_.end()) {
    introduce_if_due(*session);
    return session;
  }
  std::string pending;
  std::uint64_t start = session->state.output;
  for (const auto& part : store_.outputs(slot.cookie)) {
    if (pending.empty()) start = part.start;
    pending += part.bytes;
  }
  session->dirty_output = !pending.empty();
  session->out = chat::Output(start, std::move(pending));
  for (const auto& it : store_.on_the_way(slot.cookie))
    if (Mailbox* mailbox = mailboxes_.find(it.mailbox))
      session->on_the_way.push_back({mailbox, it.id, it.sent_at});
  if (session->ending_for) wake(*session);
  return session;
}

std::unique_ptr<Session> ChatService::open_outgoing(ledger::Slot& slot, std::uint64_t token) {
  slot.protocol[kOutgoing] = 1;
  std::unique_ptr<ChatSession> session = make_session(slot);
  session->place = token;
  links_.insert(session.get());
  introduce_if_due(*session);
  return session;
}

std::optional<std::uint64_t> ChatService::committed_offset(const ledger::Slot& slot) noexcept {
  const auto found = recovered_.find(slot.cookie);
  if (found == recovered_.end()) return std::nullopt;
  return found->second.taken;
}

void ChatService::enter(ChatSession& session) { sessions_[session.number()] = &session; }

void ChatService::leave(ChatSession& session) noexcept {
  const auto found = sessions_.find(session.number());
  if (found != sessions_.end() && found->second == &session) sessions_.erase(found);
  links_.erase(&session);
  std::erase(touched_, &session);
  if (session.mailbox != nullptr && session.mailbox->session == &session)
    session.mailbox->session = nullptr;
}

void ChatService::touch(ChatSession& session) {
  if (!session.touched) touched_.push_back(&session);
  session.touched = true;
  if (host_ != nullptr && !committing_) wake(session);
}

void ChatService::wake(ChatSession& session) {
  if (host_ != nullptr) host_->wake(session.slot_index());
}

void ChatService::end(ChatSession& session, Cause cause) {
  if (session.ending_for) return;
  session.ending_for = cause;
  session.state.leaving = true;
  touch(session);
}

void ChatService::on_session_end(ChatSession& session) {
  if (session.place) book_.ended(*session.place, host_->loop().now());
  ended_.push_back({session.state.cookie, session.number(), session.saved || session.touched,
                    std::move(session.on_the_way), session.state.mailbox});
  session.on_the_way.clear();
  leave(session);
  session.mailbox = nullptr;
  host_->commit_soon();
}

void ChatService::on_delivered(const ChatSession::OnTheWay& message) {
  delivered_.push_back(message);
  commit_before_long();
}

/// What is worth no commit of its own.
void ChatService::commit_before_long() {
  if (flush_ && !flush_->armed()) flush_->arm_in(kFlushDelay);
}

// The turn's end

std::error_code ChatService::commit() noexcept {
  committing_ = true;
  flush_delivered();
  flush_ended();
  for (ChatSession* session : touched_) save(*session);
  if (last_message_ != saved_last_message_) store_.count_messages(last_message_);
  const std::error_code error = store_.commit();
  committing_ = false;
  if (error) {
    undo();
    return error;
  }
  for (ChatSession* session : std::exchange(touched_, {})) {
    session->out.commit();
    session->touched = false;
    session->saved = true;
  }
  if (last_message_ != saved_last_message_)
    log::debug("Port {}: messages up to {} are stored", port_, last_message_);
  saved_last_message_ = last_message_;
  delivered_.clear();
  for (const Ended& it : std::exchange(ended_, {}))
    if (Mailbox* unnamed = mailboxes_.find(-static_cast<chat::MailboxId>(it.number)))
      mailboxes_.remove(*unnamed);
  log_.flush();
  return {};
}

void ChatService::save(ChatSession& session) {
  const std::uint64_t cookie = session.state.cookie;
  if (session.dirty_output) store_.remove_outputs(cookie, session.out.start());
  session.state.output = session.out.end();
  session.state.mailbox = session.mailbox != nullptr ? session.mailbox->id : 0;
  if (!session.out.uncommitted().empty()) {
    store_.add_output(cookie, session.out.committed(), session.out.uncommitted());
    session.dirty_output = true;
  }
  store_.save_session(session.state);
}

void ChatService::flush_delivered() {
  for (const ChatSession::OnTheWay& it : delivered_) {
    store_.remove_message(it.mailbox->id, it.id);
    count(*it.mailbox, -1, 0);
  }
}

/// Messages that a connection did not get wait again; those of a client without a name go with it.
void ChatService::flush_ended() {
  for (const Ended& it : ended_) {
    for (const ChatSession::OnTheWay& message : it.on_the_way) {
      store_.mark_message(message.mailbox->id, message.id, 0, 0);
      count(*message.mailbox, 0, 1);
    }
    if (it.saved) store_.remove_session(it.cookie);
    const auto unnamed_id = -static_cast<chat::MailboxId>(it.number);
    if (Mailbox* unnamed = it.number > 0 ? mailboxes_.find(unnamed_id) : nullptr) {
      store_.remove_messages(unnamed_id);
      count(*unnamed, -static_cast<int>(unnamed->messages), -static_cast<int>(unnamed->waiting));
    }
    if (Mailbox* named = mailboxes_.find(it.mailbox)) {
      named->seen = environment_.wall();
      store_.update_mailbox(named->id, named->group, named->seen, named->via);
    }
  }
}

/// Nothing of the turn has happened: what we hold becomes what the store holds.
void ChatService::undo() noexcept {
  log_.discard();
  touched_.clear();
  last_message_ = saved_last_message_;
  std::unordered_map<std::uint64_t, SessionRow> rows;
  for (SessionRow& row : store_.sessions()) rows.emplace(row.cookie, row);
  for (auto& [number, session] : sessions_) {
    session->out.roll_back();
    std::erase_if(session->on_the_way,
                  [&, end = session->out.end()](const auto& it) { return it.sent_at > end; });
    if (session->mailbox != nullptr) session->mailbox->session = nullptr;
    session->mailbox = nullptr;
  }
  mailboxes_.reload(store_.mailboxes());
  messages_ = waiting_ = 0;
  mailboxes_.for_each([&](const Mailbox& mailbox) {
    messages_ += mailbox.messages;
    waiting_ += mailbox.waiting;
  });
  for (auto& [number, session] : sessions_) {
    const auto found = rows.find(session->state.cookie);
    restore(*session, found == rows.end() ? nullptr : &found->second);
  }
}

/// To what the store says of it, or to its beginning.
void ChatService::restore(ChatSession& session, const SessionRow* row) {
  session.touched = false;
  session.saved = row != nullptr;
  const std::uint64_t cookie = session.state.cookie;
  session.state = row != nullptr ? *row : SessionRow{.cookie = cookie, .peer = session.outgoing};
  session.mailbox = mailboxes_.find(session.state.mailbox);
  if (session.mailbox != nullptr) session.mailbox->session = &session;
  if (session.state.peer)
    links_.insert(&session);
  else
    links_.erase(&session);
  session.ending_for.reset();
  if (session.state.leaving) session.ending_for = Cause::kEof;
}

/// What was undone and nobody will send again.
std::error_code ChatService::retry() noexcept {
  make_own_mailbox();
  for (auto& [number, session] : sessions_) {
    introduce_if_due(*session);
    if (!session->heard_all()) continue;
    session->on_eof();
    touch(*session);
  }
  host_->commit_soon();
  return {};
}

void ChatService::introduce_if_due(ChatSession& session) {
  if (!session.outgoing || session.state.introduced || session.ending_for) return;
  introduce(session);
  touch(session);
}

}  // namespace serverd
