#include "common/wire/tsam_command.h"

#include <algorithm>
#include <charconv>

namespace serverd::tsam {
namespace {

struct Word {
  std::string_view text;
  Verb verb;
};

constexpr Word kWords[] = {
    {"HELO", Verb::kHelo},
    {"SERVERS", Verb::kServers},
    {"LISTSERVERS", Verb::kListServers},
    {"KEEPALIVE", Verb::kKeepAlive},
    {"SENDMSG", Verb::kSendMsg},
    {"GETMSGS", Verb::kGetMsgs},
    {"GETMSG", Verb::kGetMsg},
    {"STATUSREQ", Verb::kStatusReq},
    {"STATUSRESP", Verb::kStatusResp},
    {"LEAVE", Verb::kLeave},
    {"OK", Verb::kOk},
    {"ERROR", Verb::kError},
};

// Of ASCII only, whatever the locale says.
constexpr bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr char upper(char c) noexcept {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
constexpr bool is_letter(char c) noexcept { return upper(c) >= 'A' && upper(c) <= 'Z'; }

Verb verb_of(std::string_view name) noexcept {
  const auto same = [](char a, char b) { return upper(a) == b; };
  for (const Word& word : kWords)
    if (std::equal(name.begin(), name.end(), word.text.begin(), word.text.end(), same))
      return word.verb;
  return Verb::kUnknown;
}

std::string_view without_leading_blanks(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  return text;
}

std::string_view trimmed(std::string_view text) noexcept {
  text = without_leading_blanks(text);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::size_t fields_of(const Command& command, Origin origin) noexcept {
  switch (command.verb) {
    case Verb::kSendMsg:
      return origin == Origin::kServer ? 3 : 2;
    case Verb::kHelo:
      return command.form == Form::kWords ? 1 : 2;
    case Verb::kStatusResp:
    case Verb::kOk:
    case Verb::kError:
      return 2;
    default:
      return 1;
  }
}

void split_words(Command& command, std::string_view rest, std::size_t most) {
  for (rest = without_leading_blanks(rest); !rest.empty();) {
    const bool last = command.count + 1 == most;
    const auto end = last ? rest.end() : std::find_if(rest.begin(), rest.end(), is_blank);
    const auto length = static_cast<std::size_t>(end - rest.begin());
    command.fields[command.count++] = rest.substr(0, length);
    rest = without_leading_blanks(rest.substr(length));
  }
}

void split_commas(Command& command, std::string_view rest, std::size_t most) {
  for (;;) {
    const bool last = command.count + 1 == most;
    const auto comma = last ? std::string_view::npos : rest.find(',');
    const std::string_view field = rest.substr(0, comma);
    command.fields[command.count++] = last ? field : trimmed(field);
    if (comma == std::string_view::npos) return;
    rest.remove_prefix(comma + 1);
  }
}

/// An address or a host name; the point is that it cannot break a list or a log.
bool is_host(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '.' || c == ':' || c == '-' || c == '_' || c == '%';
  });
}

std::optional<int> parse_port(std::string_view text) {
  if (text == "-1") return -1;
  const auto number = parse_count(text);
  if (!number || *number == 0 || *number > 65'535) return std::nullopt;
  return static_cast<int>(*number);
}

std::optional<ServerEntry> parse_server(std::string_view text) {
  const std::string_view id = trimmed(take_field(text).value_or(""));
  const std::string_view host = trimmed(take_field(text).value_or(""));
  const auto port = parse_port(trimmed(text));
  if (!is_id(id) || !is_host(host) || !port) return std::nullopt;
  return ServerEntry{id, host, *port};
}

}  // namespace

Command parse_command(std::string_view text, Origin origin) {
  Command command;
  text = without_leading_blanks(text);
  const auto end = std::min(text.find_first_of(", \t"), text.size());
  command.name = text.substr(0, end);
  command.verb = verb_of(command.name);
  const std::string_view rest = text.substr(end);
  if (without_leading_blanks(rest).empty()) return command;
  command.form = rest[0] == ',' ? Form::kComma : Form::kWords;
  const std::size_t most = fields_of(command, origin);
  if (command.form == Form::kComma)
    split_commas(command, rest.substr(1), most);
  else
    split_words(command, rest, most);
  return command;
}

std::optional<std::string_view> take_field(std::string_view& rest, char separator) {
  if (rest.empty()) return std::nullopt;
  const std::string_view field = rest.substr(0, rest.find(separator));
  rest.remove_prefix(std::min(field.size() + 1, rest.size()));
  return field;
}

std::optional<ServerEntry> take_server(std::string_view& list) {
  while (const auto text = take_field(list, ';'))
    if (const auto entry = parse_server(*text)) return entry;
  return std::nullopt;
}

void append_server(std::string& out, const ServerEntry& entry) {
  out.append(entry.id).append(",").append(entry.host).append(",");
  out.append(std::to_string(entry.port)).append(";");
}

std::optional<std::uint32_t> parse_count(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_id(std::string_view text) {
  return !text.empty() && text.size() <= kLongestId &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '-'; });
}

bool is_name(std::string_view text) {
  return is_id(text) && !std::all_of(text.begin(), text.end(), is_digit);
}

std::string command_text(std::initializer_list<std::string_view> fields) {
  std::string text;
  for (const std::string_view& field : fields) {
    if (&field != fields.begin()) text += ',';
    text += field;
  }
  return text;
}

}  // namespace serverd::tsam
