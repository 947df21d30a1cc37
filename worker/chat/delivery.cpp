// Messages: to whom, from where, how many.

#include "common/log.h"
#include "worker/chat/chat_service.h"

#include <charconv>

namespace serverd {

using chat::ChatSession;
using chat::Mailbox;
using chat::MessageRow;

namespace {

constexpr std::size_t kMostMailboxes = 100'000;

std::uint64_t number_in(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

}  // namespace

void ChatService::count(Mailbox& mailbox, int messages, int waiting) noexcept {
  mailbox.messages += static_cast<std::size_t>(messages);
  mailbox.waiting += static_cast<std::size_t>(waiting);
  messages_ += static_cast<std::size_t>(messages);
  waiting_ += static_cast<std::size_t>(waiting);
}

/// Null: there are too many.
Mailbox* ChatService::add_mailbox(std::string_view name, bool group) {
  if (mailboxes_.size() >= kMostMailboxes) return nullptr;
  const std::int64_t now = environment_.wall();
  const chat::MailboxId id = store_.add_mailbox(name, group, now);
  if (mailboxes_.find(id) != nullptr) return nullptr;  // the store takes nothing just now
  return &mailboxes_.add({id, std::string(name), group, now});
}

void ChatService::make_own_mailbox() {
  Mailbox* own = mailboxes_.find(config_.server_id);
  if (own == nullptr) own = add_mailbox(config_.server_id, true);
  if (own == nullptr || own->group) return;
  own->group = true;
  store_.update_mailbox(own->id, true, own->seen, own->via);
}

Mailbox* ChatService::mailbox_of(ChatSession& session) {
  if (session.mailbox != nullptr) return session.mailbox;
  const auto id = -static_cast<chat::MailboxId>(session.number());
  Mailbox* unnamed = mailboxes_.find(id);
  if (unnamed == nullptr) {
    chat::MailboxRow row;
    row.id = id;
    unnamed = &mailboxes_.add(std::move(row));
  }
  unnamed->session = &session;
  return unnamed;
}

Mailbox* ChatService::recipient(std::string_view to) {
  if (Mailbox* named = mailboxes_.find(to)) return named;
  const auto found = sessions_.find(number_in(to));
  if (found == sessions_.end() || found->second->state.peer) return nullptr;
  return mailbox_of(*found->second);
}

bool ChatService::full(const Mailbox& mailbox) const noexcept {
  return mailbox.waiting >= config_.max_messages_per_recipient || waiting_ >= config_.max_messages;
}

/// The connection that takes messages for `to`: its own, or that of the server which knows it. What
/// came from one server goes to no third by hearsay, or it might go round in circles.
ChatSession* ChatService::reader_for(const Mailbox& to, bool from_peer) const {
  ChatSession* reader = to.session;
  if (reader == nullptr && to.group && to.via != 0 && !from_peer)
    if (const Mailbox* via = mailboxes_.find(to.via)) reader = via->session;
  return reader != nullptr && reader->listens() ? reader : nullptr;
}

std::uint64_t ChatService::deliver(Mailbox& to, std::string_view from, std::string_view content,
                                   bool from_peer) {
  MessageRow message{++last_message_, from, content, environment_.wall(), from_peer};
  ChatSession* reader = reader_for(to, from_peer);
  if (reader != nullptr && reader->out.pending() > ChatSession::kTooSlow) {
    end(*reader, ledger::Cause::kSlow);
    reader = nullptr;
  }
  if (reader != nullptr) {
    reply(*reader, tsam::command_text({"SENDMSG", to.name, from, content}));
    message.reader = reader->state.cookie;
    message.sent_at = reader->out.end();
    reader->on_the_way.push_back({&to, message.id, message.sent_at});
    touch(*reader);
  }
  store_.add_message(to.id, message);
  count(to, 1, reader == nullptr ? 1 : 0);
  return message.id;
}

void ChatService::start_reading(ChatSession& session, Mailbox* mailbox, bool one) {
  const char* answer = one ? "GETMSG" : "GETMSGS";
  chat::SessionRow& state = session.state;
  state.read_count = 0;
  state.read_from = 0;
  state.read_to = last_message_ + 1;
  if (one && mailbox != nullptr) {
    state.read_to = 0;
    store_.for_each_waiting(mailbox->id, 0, last_message_ + 1, [&](const MessageRow& first) {
      state.read_to = first.id + 1;
      return false;
    });
  }
  state.reading =
      mailbox != nullptr ? mailbox->id : -static_cast<chat::MailboxId>(session.number());
  read_on(session, answer);
}

void ChatService::continue_reading(ChatSession& session) {
  read_on(session, "GETMSGS");
  touch(session);
}

/// As much as should wait to be sent; the rest when that was.
void ChatService::read_on(ChatSession& session, const char* answer) {
  chat::SessionRow& state = session.state;
  Mailbox* mailbox = mailboxes_.find(state.reading);
  struct Copy {
    std::uint64_t id;
    std::string sender, content;
  };
  std::vector<Copy> batch;
  std::size_t size = 0;
  if (mailbox != nullptr)
    store_.for_each_waiting(
        state.reading, state.read_from, state.read_to, [&](const MessageRow& row) {
          if (size >= ChatSession::kCrowded) return false;
          size += row.content.size() + 100;
          batch.push_back({row.id, std::string(row.sender), std::string(row.content)});
          return true;
        });
  for (const Copy& message : batch) {
    reply(session, tsam::command_text({"SENDMSG", mailbox->name, message.sender, message.content}));
    store_.mark_message(mailbox->id, message.id, state.cookie, session.out.end());
    session.on_the_way.push_back({mailbox, message.id, session.out.end()});
    count(*mailbox, 0, -1);
    state.read_from = message.id + 1;
    ++state.read_count;
  }
  if (size >= ChatSession::kCrowded) return;
  state.reading = 0;
  if (!state.peer)
    reply(session, tsam::command_text({"OK", answer, std::to_string(state.read_count)}));
}

/// Messages of our clients that waited for a way to their group.
void ChatService::forward_waiting(Mailbox& to, ChatSession& link) {
  if (to.waiting == 0) return;
  struct Copy {
    std::uint64_t id;
    std::string sender, content;
  };
  std::vector<Copy> batch;
  std::size_t size = 0;
  store_.for_each_waiting(to.id, 0, last_message_ + 1, [&](const MessageRow& row) {
    size += row.content.size() + 100;
    if (!row.from_peer)
      batch.push_back({row.id, std::string(row.sender), std::string(row.content)});
    return size < ChatSession::kCrowded;
  });
  for (const Copy& message : batch) {
    reply(link, tsam::command_text({"SENDMSG", to.name, message.sender, message.content}));
    store_.mark_message(to.id, message.id, link.state.cookie, link.out.end());
    link.on_the_way.push_back({&to, message.id, link.out.end()});
    count(to, 0, -1);
  }
}

/// Messages that nobody fetched, and names that nobody has come back to.
void ChatService::expire() {
  const std::int64_t before =
      environment_.wall() -
      std::chrono::duration_cast<std::chrono::seconds>(config_.message_ttl).count();
  std::size_t expired = 0;
  std::vector<Mailbox*> forgotten;
  mailboxes_.for_each([&](Mailbox& mailbox) {
    if (mailbox.waiting > 0) {
      const auto old = static_cast<int>(store_.expire_messages(mailbox.id, before));
      count(mailbox, -old, -old);
      expired += static_cast<std::size_t>(old);
    }
    const bool unused = mailbox.messages == 0 && mailbox.session == nullptr;
    if (mailbox.id > 0 && unused && mailbox.seen < before && mailbox.name != config_.server_id)
      forgotten.push_back(&mailbox);
  });
  for (Mailbox* mailbox : forgotten) {
    store_.remove_mailbox(mailbox->id);
    mailboxes_.remove(*mailbox);
  }
  if (expired > 0) log::info("Port {}: {} messages have expired", port_, expired);
  host_->commit_soon();
}

}  // namespace serverd
