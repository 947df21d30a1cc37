#include "client/chat/words.h"

#include "common/printable.h"
#include "common/wire/tsam_command.h"

#include <fmt/format.h>

namespace serverd::chat {
namespace {

using tsam::Form;
using tsam::Verb;

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return result;
}

bool has_comma_form(const tsam::Command& command) {
  switch (command.verb) {
    case Verb::kSendMsg:
      return command.count == 2 && tsam::is_id(command.field(0));
    case Verb::kGetMsgs:
    case Verb::kGetMsg:
    case Verb::kKeepAlive:
      return tsam::is_id(command.field(0));
    default:
      return false;
  }
}

}  // namespace

std::string wire_form(std::string_view typed) {
  const tsam::Command command = tsam::parse_command(typed, tsam::Origin::kClient);
  if (command.verb == Verb::kUnknown) return std::string(typed);
  std::string name = upper(command.name);
  if (command.form == Form::kBare) return name;
  if (command.form == Form::kWords && has_comma_form(command)) {
    for (std::size_t i = 0; i < command.count; ++i) name.append(",").append(command.field(i));
    return name;
  }
  const auto behind = static_cast<std::size_t>(command.name.data() - typed.data()) + name.size();
  return name + std::string(typed.substr(behind));
}

std::string stamped(std::time_t when, char mark, std::string_view text) {
  std::tm local{};
  ::localtime_r(&when, &local);
  char time[32];
  const std::size_t length = std::strftime(time, sizeof time, "%Y-%m-%d %H:%M:%S", &local);
  return fmt::format("[{}] {} {}", std::string_view(time, length), mark, printable(text));
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace serverd::chat
