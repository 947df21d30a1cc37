#pragma once

#include <ctime>
#include <string>
#include <string_view>

namespace serverd::chat {

/// What is sent for a typed line: the command word in upper case, and commas instead of blanks
/// where both say the same, because other servers know commas only. HELO keeps its form, which
/// tells a person from a server; what is no command stays as it was typed.
std::string wire_form(std::string_view typed);

/// "[2026-11-20 21:20:05] < text", local time; `text` may come from anybody and becomes safe to
/// show.
std::string stamped(std::time_t when, char mark, std::string_view text);

/// Nothing but blanks and line ends.
bool is_blank(std::string_view text);

}  // namespace serverd::chat
