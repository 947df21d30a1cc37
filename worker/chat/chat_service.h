#pragma once

#include "common/config.h"
#include "common/ledger.h"
#include "common/loop/loop.h"
#include "common/wire/tsam_command.h"
#include "worker/chat/chat_session.h"
#include "worker/chat/chat_store.h"
#include "worker/chat/mailboxes.h"
#include "worker/chat/peer_book.h"
#include "worker/chat/server_log.h"
#include "worker/service_host.h"
#include "worker/session.h"

#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace serverd {

/// The `chat` protocol: one server of the T-409-TSAM message network, for clients and other servers
/// on the same port. What a turn of the loop brings is one transaction: requests, what they change
/// and their answers are committed together, and only then leave their sockets and go out.
/// PROTOCOLS: chat.
class ChatService final : public Service {
 public:
  struct Environment {
    std::function<std::time_t()> wall = [] { return std::time(nullptr); };
    /// Seconds of CPU that the process has used.
    std::function<double()> cpu = process_cpu;
  };

  /// `ledger` must outlive the service. Throws std::system_error if the database cannot be opened.
  ChatService(const ChatConfig& config, std::uint16_t port, ledger::Ledger& ledger,
              Environment environment);
  ChatService(const ChatConfig& config, std::uint16_t port, ledger::Ledger& ledger)
      : ChatService(config, port, ledger, Environment()) {}

  void attach(ServiceHost& host) override;
  void on_serving(std::span<const SocketAddress> addresses) override;
  std::unique_ptr<Session> open(ledger::Slot& slot) override;
  std::unique_ptr<Session> resume(ledger::Slot& slot) override;
  std::unique_ptr<Session> open_outgoing(ledger::Slot& slot, std::uint64_t token) override;
  void on_connect_failed(std::uint64_t token, std::error_code error) override;
  std::error_code commit() noexcept override;
  std::optional<std::uint64_t> committed_offset(const ledger::Slot& slot) noexcept override;
  void rotate() noexcept override { log_.reopen(); }
  std::error_code retry() noexcept override;
  /// What is due every so often, the parts of it by themselves for tests. Called by a timer.
  void tick();
  void expire();
  void measure_load();
  chat::ChatStore& store() noexcept { return store_; }

  // What sessions report.
  void enter(chat::ChatSession& session);
  void leave(chat::ChatSession& session) noexcept;
  void execute(chat::ChatSession& session, std::string_view text);
  void refuse_long(chat::ChatSession& session, std::string_view beginning);
  void touch(chat::ChatSession& session);
  void continue_reading(chat::ChatSession& session);
  void on_delivered(const chat::ChatSession::OnTheWay& message);
  void on_session_end(chat::ChatSession& session);

 private:
  using ChatSession = chat::ChatSession;
  using Mailbox = chat::Mailbox;
  using Command = tsam::Command;

  static double process_cpu();

  // chat_service.cpp: sessions and the store
  std::unique_ptr<ChatSession> make_session(ledger::Slot& slot);
  void restore(ChatSession& session, const chat::SessionRow* row);
  void flush_ended();
  void flush_delivered();
  void save(ChatSession& session);
  void undo() noexcept;
  void commit_before_long();
  void remove_strays();
  void wake(ChatSession& session);
  void end(ChatSession& session, ledger::Cause cause);

  // requests.cpp: what commands mean
  void reply(ChatSession& session, std::string_view text);
  void log_request(const ChatSession& session, std::string_view text);
  void from_client(ChatSession& session, const Command& command);
  void from_peer(ChatSession& session, const Command& command);
  void greet(ChatSession& session, std::string_view text);
  void send_of_client(ChatSession& session, const Command& command);
  void send_of_peer(ChatSession& session, const Command& command);
  void read_request(ChatSession& session, const Command& command, bool one);
  std::string name_of(const ChatSession& session) const;
  std::string servers_text(const ChatSession& session) const;
  std::string client_status() const;
  std::string group_status() const;

  // delivery.cpp: messages
  Mailbox* recipient(std::string_view to);
  Mailbox* mailbox_of(ChatSession& session);
  void make_own_mailbox();
  Mailbox* add_mailbox(std::string_view name, bool group);
  bool full(const Mailbox& mailbox) const noexcept;
  std::uint64_t deliver(Mailbox& to, std::string_view from, std::string_view content,
                        bool from_peer);
  ChatSession* reader_for(const Mailbox& to, bool from_peer) const;
  void start_reading(ChatSession& session, Mailbox* mailbox, bool one);
  void read_on(ChatSession& session, const char* answer);
  void forward_waiting(Mailbox& to, ChatSession& link);
  void count(Mailbox& mailbox, int messages, int waiting) noexcept;

  // links.cpp: other servers
  void become_peer(ChatSession& session, std::string_view id, bool answer);
  bool admit_link(ChatSession& session, Mailbox& group);
  void introduce(ChatSession& session);
  void introduce_if_due(ChatSession& session);
  void learn_servers(ChatSession& session, std::string_view list);
  void keep_alive(ChatSession& link);
  void connect_to_peers();
  unsigned link_count() const noexcept;

  ChatConfig config_;
  std::uint16_t port_;
  ledger::Ledger& ledger_;
  Environment environment_;
  ServiceHost* host_ = nullptr;
  chat::ChatStore store_;
  chat::ServerLog log_;
  chat::Mailboxes mailboxes_;
  chat::PeerBook book_;
  std::uint64_t last_message_ = 0;
  std::uint64_t saved_last_message_ = 0;
  std::size_t messages_ = 0;
  std::size_t waiting_ = 0;
  std::unordered_map<std::uint64_t, chat::SessionRow> recovered_;  ///< by cookie
  std::unordered_map<std::uint64_t, ChatSession*> sessions_;       ///< by number
  struct Earlier {
    bool operator()(const ChatSession* a, const ChatSession* b) const noexcept {
      return a->number() < b->number();
    }
  };
  std::set<ChatSession*, Earlier> links_;  ///< those that are peers, as they came
  std::vector<ChatSession*> touched_;
  std::vector<ChatSession::OnTheWay> delivered_;
  struct Ended {
    std::uint64_t cookie;
    std::uint64_t number;
    bool saved;
    std::vector<ChatSession::OnTheWay> on_the_way;
    chat::MailboxId mailbox;
  };
  std::vector<Ended> ended_;
  std::optional<Timer> tick_;
  std::optional<Timer> flush_;  ///< of what has no hurry
  Clock::time_point expired_{};
  Clock::time_point measured_{};
  double cpu_at_ = 0;
  double load_ = 0;
  bool overloaded_ = false;
  bool committing_ = false;
};

}  // namespace serverd
