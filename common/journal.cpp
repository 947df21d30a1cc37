#include "common/journal.h"

#include <systemd/sd-journal.h>

#include <array>
#include <string>

namespace serverd {

void send_to_journal(int priority, std::string_view text) noexcept {
  std::string message = "MESSAGE=";
  message += text;
  std::string level = "PRIORITY=" + std::to_string(priority);
  const std::array<iovec, 2> fields = {
      {{message.data(), message.size()}, {level.data(), level.size()}}};
  ::sd_journal_sendv(fields.data(), static_cast<int>(fields.size()));
}

}  // namespace serverd
