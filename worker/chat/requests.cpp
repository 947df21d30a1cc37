// What commands mean, from clients and from other servers.

#include "worker/chat/chat_service.h"

#include <fmt/format.h>

namespace serverd {

using tsam::Form;
using tsam::Verb;

namespace {

/// With our answer's other fields it still makes one command.
constexpr std::size_t kLongestGreeting = tsam::kLongestCommand - 200;

std::uint64_t realtime_s() { return static_cast<std::uint64_t>(std::time(nullptr)); }

}  // namespace

std::string ChatService::name_of(const ChatSession& session) const {
  return session.mailbox != nullptr ? session.mailbox->name : std::to_string(session.number());
}

/// Of what is repeated from a request the end may be missing: the limit is ours as well.
void ChatService::reply(ChatSession& session, std::string_view text) {
  text = text.substr(0, tsam::kLongestCommand);
  session.say(text);
  log_.add(environment_.wall(),
           session.state.peer ? "To server " + name_of(session)
                              : "To client " + std::to_string(session.number()),
           text);
}

void ChatService::log_request(const ChatSession& session, std::string_view text) {
  log_.add(environment_.wall(),
           session.state.peer ? "Server " + name_of(session)
                              : "Client " + std::to_string(session.number()),
           text);
}

void ChatService::execute(ChatSession& session, std::string_view text) {
  const bool peer = session.state.peer;
  const Command command =
      tsam::parse_command(text, peer ? tsam::Origin::kServer : tsam::Origin::kClient);
  if (command.name.empty() && command.form == Form::kBare) return;  // a blank line
  log_request(session, text);
  if (peer)
    from_peer(session, command);
  else
    from_client(session, command);
}

void ChatService::refuse_long(ChatSession& session, std::string_view beginning) {
  log_request(session, fmt::format("{}… (too long)", beginning.substr(0, 40)));
  reply(session,
        fmt::format("ERROR,TOO_LONG,a command has at most {} bytes", tsam::kLongestCommand));
}

void ChatService::from_client(ChatSession& session, const Command& command) {
  switch (command.verb) {
    case Verb::kHelo:
      if (command.form == Form::kComma) return become_peer(session, command.field(0), true);
      return greet(session, command.field(0));
    case Verb::kServers:
    case Verb::kListServers:
      return reply(session, servers_text(session));
    case Verb::kKeepAlive:
      return reply(session, fmt::format("KEEPALIVE,{}",
                                        session.mailbox != nullptr ? session.mailbox->waiting : 0));
    case Verb::kSendMsg:
      return send_of_client(session, command);
    case Verb::kGetMsgs:
      return read_request(session, command, false);
    case Verb::kGetMsg:
      return read_request(session, command, true);
    case Verb::kStatusReq:
      return reply(session, client_status());
    case Verb::kLeave:
      return end(session, ledger::Cause::kEof);
    case Verb::kError:  // is answered by none
      return;
    default:
      reply(session, tsam::command_text({"ERROR", "UNKNOWN_COMMAND", command.name}));
  }
}

void ChatService::from_peer(ChatSession& session, const Command& command) {
  switch (command.verb) {
    case Verb::kHelo:
      return become_peer(session, command.field(0), true);
    case Verb::kServers:
      if (command.form == Form::kComma) return learn_servers(session, command.field(0));
      return reply(session, servers_text(session));
    case Verb::kListServers:
      return reply(session, servers_text(session));
    case Verb::kKeepAlive:
      if (tsam::parse_count(command.field(0)).value_or(0) > 0)
        reply(session, tsam::command_text({"GETMSGS", config_.server_id}));
      return;
    case Verb::kSendMsg:
      return send_of_peer(session, command);
    case Verb::kGetMsgs:
      return read_request(session, command, false);
    case Verb::kGetMsg:
      return read_request(session, command, true);
    case Verb::kStatusReq:
      return reply(session, group_status());
    case Verb::kLeave:
      return end(session, ledger::Cause::kEof);
    case Verb::kStatusResp:
    case Verb::kOk:
    case Verb::kError:
      return;
    default:
      reply(session, tsam::command_text({"ERROR", "UNKNOWN_COMMAND", command.name}));
  }
}

void ChatService::greet(ChatSession& session, std::string_view text) {
  if (text.size() > kLongestGreeting) return reply(session, "ERROR,TOO_LONG,HELO");
  if (session.mailbox == nullptr && tsam::is_name(text)) {
    Mailbox* mailbox = mailboxes_.find(text);
    const bool taken = text == config_.server_id ||
                       (mailbox != nullptr && (mailbox->group || mailbox->session != nullptr));
    if (mailbox == nullptr && !taken) mailbox = add_mailbox(text, false);
    if (taken) return reply(session, tsam::command_text({"ERROR", "NAME_IN_USE", text}));
    if (mailbox == nullptr) return reply(session, "ERROR,TOO_MANY_NAMES,HELO");
    mailbox->session = &session;
    session.mailbox = mailbox;
  }
  const SocketAddress peer = session.slot().peer.to_address();
  reply(session, tsam::command_text(
                     {"HELO", text, peer.host(), std::to_string(peer.port()), config_.server_id}));
}

void ChatService::send_of_client(ChatSession& session, const Command& command) {
  const std::string_view to = command.field(0);
  const std::string_view content = command.field(1);
  if (command.count < 2) return reply(session, "ERROR,MALFORMED,SENDMSG");
  Mailbox* mailbox = recipient(to);
  if (mailbox == nullptr)
    return reply(session, tsam::command_text({"ERROR", "UNKNOWN_RECIPIENT", to}));
  // Another group knows ours, not our clients.
  const bool away = mailbox->group && mailbox->name != config_.server_id;
  const std::string from = away ? config_.server_id : name_of(session);
  constexpr std::size_t kAround = 10;  // SENDMSG and commas
  if (kAround + mailbox->name.size() + from.size() + content.size() > tsam::kLongestCommand)
    return reply(session, "ERROR,TOO_LONG,SENDMSG");
  if (full(*mailbox)) return reply(session, tsam::command_text({"ERROR", "MAILBOX_FULL", to}));
  const std::uint64_t id = deliver(*mailbox, from, content, false);
  reply(session, fmt::format("OK,SENDMSG,{}", id));
}

void ChatService::send_of_peer(ChatSession& session, const Command& command) {
  const std::string_view to = command.field(0);
  const std::string_view from = command.field(1);
  if (command.count < 3 || !tsam::is_id(from)) return reply(session, "ERROR,MALFORMED,SENDMSG");
  Mailbox* mailbox = recipient(to);
  if (mailbox == nullptr)
    return reply(session, tsam::command_text({"ERROR", "UNKNOWN_RECIPIENT", to}));
  if (full(*mailbox)) return reply(session, tsam::command_text({"ERROR", "MAILBOX_FULL", to}));
  deliver(*mailbox, from, command.field(2), true);
}

void ChatService::read_request(ChatSession& session, const Command& command, bool one) {
  const std::string_view id = command.field(0);
  if (id.empty() || id == name_of(session)) {
    Mailbox* own = session.mailbox;
    return start_reading(session, own, one);
  }
  Mailbox* mailbox = recipient(id);
  if (mailbox == nullptr)
    return reply(session, tsam::command_text({"ERROR", "UNKNOWN_RECIPIENT", id}));
  const bool own = mailbox->session == &session;
  if (!own && (mailbox->id < 0 || !config_.open_mailboxes.value_or(mailbox->group)))
    return reply(session, tsam::command_text({"ERROR", "NOT_PERMITTED", id}));
  start_reading(session, mailbox, one);
}

/// The sender first, then its direct peers.
std::string ChatService::servers_text(const ChatSession& session) const {
  std::string text = "SERVERS,";
  const auto own = host_->local_address(session.slot_index());
  tsam::append_server(text, {config_.server_id, own ? own->host() : "127.0.0.1", port_});
  for (const ChatSession* link : links_) {
    if (link->mailbox == nullptr || link->ending_for) continue;
    const SocketAddress peer = link->slot().peer.to_address();
    const int port = link->outgoing ? peer.port() : link->state.peer_port;
    tsam::append_server(text, {link->mailbox->name, peer.host(), port});
  }
  return text;
}

std::string ChatService::client_status() const {
  const std::uint64_t uptime = realtime_s() - ledger_.header().started_at / 1'000'000'000U;
  return fmt::format("STATUSRESP,{},uptime,{},clients,{},peers,{},messages,{},load,{:.2f}",
                     config_.server_id, uptime, sessions_.size() - links_.size(), link_count(),
                     waiting_, load_);
}

std::string ChatService::group_status() const {
  std::string text = "STATUSRESP";
  const auto add = [&](const Mailbox& group) {
    if (text.size() + group.name.size() + 12 > tsam::kLongestCommand) return;
    text += fmt::format(",{},{}", group.name, group.waiting);
  };
  const Mailbox* own = mailboxes_.find(config_.server_id);
  if (own != nullptr) add(*own);
  mailboxes_.for_each([&](const Mailbox& mailbox) {
    if (mailbox.group && mailbox.waiting > 0 && &mailbox != own) add(mailbox);
  });
  return text;
}

}  // namespace serverd
