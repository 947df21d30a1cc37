#include "worker/chat/mailboxes.h"

#include <unordered_set>

namespace serverd::chat {

Mailbox* Mailboxes::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

Mailbox* Mailboxes::find(MailboxId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

Mailbox& Mailboxes::add(MailboxRow row) {
  // Of clients without a name the number is the name, which nobody can give himself.
  if (row.id < 0) row.name = std::to_string(-row.id);
  const MailboxId id = row.id;
  Mailbox& mailbox = *(by_id_[id] = std::make_unique<Mailbox>());
  static_cast<MailboxRow&>(mailbox) = std::move(row);
  if (id > 0) by_name_[mailbox.name] = &mailbox;
  return mailbox;
}

void Mailboxes::remove(Mailbox& mailbox) {
  if (mailbox.id > 0) by_name_.erase(mailbox.name);
  by_id_.erase(mailbox.id);
}

void Mailboxes::reload(const std::vector<MailboxRow>& rows) {
  std::unordered_set<MailboxId> there;
  for (const MailboxRow& row : rows) {
    there.insert(row.id);
    if (Mailbox* known = find(row.id)) {
      known->group = row.group;
      known->seen = row.seen;
      known->messages = row.messages;
      known->waiting = row.waiting;
      known->via = row.via;
    } else {
      add(row);
    }
  }
  std::vector<Mailbox*> gone;
  for_each([&](Mailbox& mailbox) {
    if (!there.contains(mailbox.id)) gone.push_back(&mailbox);
  });
  for (Mailbox* mailbox : gone) remove(*mailbox);
}

}  // namespace serverd::chat
