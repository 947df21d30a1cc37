#pragma once

#include "worker/chat/chat_store.h"

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace serverd::chat {

class ChatSession;

/// A recipient, as the store has it.
struct Mailbox : MailboxRow {
  ChatSession* session = nullptr;  ///< the connection that has this name
};

/// All recipients, by name and by id. Addresses stay.
class Mailboxes final {
 public:
  /// Null if there is none.
  Mailbox* find(std::string_view name) const;
  Mailbox* find(MailboxId id) const;
  Mailbox& add(MailboxRow row);
  void remove(Mailbox& mailbox);
  /// Makes what is held what `rows` say; sessions stay, of those that are still there.
  void reload(const std::vector<MailboxRow>& rows);
  std::size_t size() const noexcept { return by_id_.size(); }

  /// In the order of their ids.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (const auto& [id, mailbox] : by_id_) visit(*mailbox);
  }

 private:
  std::map<MailboxId, std::unique_ptr<Mailbox>> by_id_;
  std::unordered_map<std::string_view, Mailbox*> by_name_;  ///< views into the mailboxes
};

}  // namespace serverd::chat
