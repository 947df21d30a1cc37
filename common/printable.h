#pragma once

#include <string>
#include <string_view>

namespace serverd {

/// Text that is safe to show on a terminal, whoever wrote it: control characters, the marks that
/// turn the direction of writing, and bytes that are not UTF-8 become \xNN or \uNNNN.
std::string printable(std::string_view text);
/// True of printing ASCII characters and nothing else, as most texts are: printable() leaves it so.
bool is_plain(std::string_view text) noexcept;

}  // namespace serverd
