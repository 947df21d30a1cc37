#pragma once

#include <string_view>

namespace serverd {

/// Sends one message to the journal by sd_journal_sendv(3). `priority` as in syslog(3). What the
/// journal does not take is lost.
void send_to_journal(int priority, std::string_view text) noexcept;

}  // namespace serverd
