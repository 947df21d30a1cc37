// Other servers.

#include "common/log.h"
#include "worker/chat/chat_service.h"

#include <algorithm>

namespace serverd {

using ledger::Cause;

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostLearned = 64;  ///< from one SERVERS

}  // namespace

unsigned ChatService::link_count() const noexcept {
  return static_cast<unsigned>(std::count_if(links_.begin(), links_.end(), [](const auto* link) {
    return link->mailbox != nullptr && !link->ending_for;
  }));
}

/// Our HELO, once on a link.
void ChatService::introduce(ChatSession& session) {
  if (session.state.introduced) return;
  session.state.introduced = true;
  reply(session, tsam::command_text({"HELO", config_.server_id}));
}

/// `answer`: it was HELO, and not a SERVERS that says as much.
void ChatService::become_peer(ChatSession& session, std::string_view id, bool answer) {
  if (!tsam::is_name(id)) return reply(session, "ERROR,MALFORMED,HELO");
  if (session.mailbox != nullptr && session.mailbox->name != id)
    return reply(session, tsam::command_text({"ERROR", "NAMED_ALREADY", session.mailbox->name}));
  if (session.mailbox == nullptr) {
    if (session.place) book_.identified(*session.place, id);
    if (id == config_.server_id) {
      log::warning("Port {}: connection {} is a link to ourselves, or says so", port_,
                   session.number());
      return end(session, Cause::kError);
    }
    Mailbox* group = mailboxes_.find(id);
    if (group == nullptr) group = add_mailbox(id, true);
    if (group == nullptr) return reply(session, "ERROR,TOO_MANY_NAMES,HELO");
    if (!admit_link(session, *group)) return;
    group->group = true;
    group->session = &session;
    session.mailbox = group;
    session.state.peer = true;
    session.kept_alive_at = host_->loop().now();
    links_.insert(&session);
    store_.update_mailbox(group->id, true, environment_.wall(), group->via);
    log::info("Port {}: linked with {} (connection {})", port_, id, session.number());
  }
  introduce(session);
  if (!answer) return;
  reply(session, servers_text(session));
  if (session.mailbox->waiting > 0) keep_alive(session);
}

/// Of two links to one server both sides keep the same: that which the lesser id has made.
bool ChatService::admit_link(ChatSession& session, Mailbox& group) {
  ChatSession* before = group.session;
  if (before != nullptr && !before->state.peer) {
    reply(session, tsam::command_text({"ERROR", "NAME_IN_USE", group.name}));
    end(session, Cause::kError);
    return false;
  }
  if (before == nullptr || before->ending_for) {
    if (link_count() < config_.max_peers) return true;
    reply(session, "ERROR,TOO_MANY_PEERS,try another server");
    end(session, Cause::kError);
    return false;
  }
  const bool ours_stays = config_.server_id < group.name;
  const bool new_one_stays = before->outgoing != session.outgoing && session.outgoing == ours_stays;
  log::info("Port {}: a second link with {} is closed", port_, group.name);
  if (new_one_stays) {
    before->mailbox = nullptr;
    end(*before, Cause::kError);
    return true;
  }
  introduce(session);  // so that it knows with whom it has a link already
  end(session, Cause::kError);
  return false;
}

void ChatService::learn_servers(ChatSession& session, std::string_view list) {
  bool first = true;
  for (std::size_t i = 0; i < kMostLearned; ++i) {
    const auto entry = tsam::take_server(list);
    if (!entry) break;
    if (first && session.mailbox == nullptr) become_peer(session, entry->id, false);
    if (session.mailbox == nullptr || session.ending_for) return;
    if (std::exchange(first, false)) {
      session.state.peer_port = entry->port;
      continue;
    }
    if (entry->id == config_.server_id || !tsam::is_name(entry->id)) continue;
    Mailbox* group = mailboxes_.find(entry->id);
    if (group == nullptr) group = add_mailbox(entry->id, true);
    if (group == nullptr || !group->group) continue;
    group->via = session.mailbox->id;
    store_.update_mailbox(group->id, true, environment_.wall(), group->via);
    if (group->session == nullptr) forward_waiting(*group, session);
    if (entry->port < 1) continue;
    if (const auto address =
            SocketAddress::from_host(entry->host, static_cast<std::uint16_t>(entry->port)))
      book_.learn(entry->id, *address);
  }
}

void ChatService::keep_alive(ChatSession& link) {
  reply(link, tsam::command_text({"KEEPALIVE", std::to_string(link.mailbox->waiting)}));
  link.kept_alive_at = host_->loop().now();
  touch(link);
}

void ChatService::connect_to_peers() {
  const auto linked = [this](std::string_view id) {
    const Mailbox* group = mailboxes_.find(id);
    return id == config_.server_id || (group != nullptr && group->session != nullptr);
  };
  for (const auto& due : book_.take_due(host_->loop().now(), link_count(), linked))
    host_->connect(due.address, due.token);
}

void ChatService::on_connect_failed(std::uint64_t token, std::error_code error) {
  log::debug("Port {}: a peer cannot be reached: {}", port_, error.message());
  book_.ended(token, host_->loop().now());
}

/// The share of one CPU that this worker uses. Clients are told when it becomes too much, and when
/// it is not any more.
void ChatService::measure_load() {
  const Clock::time_point now = host_->loop().now();
  const double seconds = std::chrono::duration<double>(now - measured_).count();
  if (seconds <= 0) return;
  const double cpu = environment_.cpu();
  load_ = std::clamp((cpu - cpu_at_) / seconds, 0.0, 1.0);
  cpu_at_ = cpu;
  measured_ = now;
  const bool overloaded = load_ >= config_.overload_threshold;
  if (overloaded == overloaded_) return;
  overloaded_ = overloaded;
  log::warning("Port {}: load {:.2f} is {} overload_threshold {:.2f}", port_, load_,
               overloaded ? "above" : "below", config_.overload_threshold);
  const std::string status = client_status();
  for (const auto& [number, session] : sessions_) {
    if (session->state.peer || !session->listens()) continue;
    reply(*session, status);
    touch(*session);
  }
}

void ChatService::tick() {
  const Clock::time_point now = host_->loop().now();
  connect_to_peers();
  for (ChatSession* link : links_)
    if (link->mailbox != nullptr && link->listens() && now - link->kept_alive_at >= 60s)
      keep_alive(*link);
  if (now - expired_ >= 60s || now - expired_ >= config_.message_ttl) {
    expired_ = now;
    expire();
  }
  if (now - measured_ >= 5s) measure_load();
  tick_->arm_in(config_.peers.empty() && config_.min_peers == 0 ? 5s : 1s);
}

}  // namespace serverd
