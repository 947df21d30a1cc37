#include "common/config_toml.h"

#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace serverd {
namespace {

constexpr unsigned kMostNesting = 16;   ///< brackets within brackets
constexpr unsigned kMostKeyParts = 16;  ///< a.b.c…

bool can_begin_key(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         c == '-' || c == '"' || c == '\'';
}

/// Finds what toml++ 3.3 must not see. It bounds the depth of values but not the parts of a dotted
/// key, and its tables destroy each other by recursion, so that one long line of "a.a.a…" ends the
/// process. It asserts (or worse, takes for granted) that a table header goes on with a key and
/// that '}' never stands where an array wants a value. And outside strings, and where a string
/// stands within a number or a date, it asks whether a character is white space by a function that
/// is undefined for many outside ASCII. Follows strings and comments as TOML does; where the text
/// is not TOML the two may part ways, but there the parser stops.
class ParserGuard final {
 public:
  explicit ParserGuard(std::string_view text) : text_(text) {}

  std::optional<TomlSyntaxError> check() {
    while (at_ < text_.size())
      if (const char* what = step()) return TomlSyntaxError{place(), what};
    return std::nullopt;
  }

 private:
  /// Moves on by a character, a string or a comment; says what is wrong with it, if anything.
  const char* step() {
    const bool begins_line = std::exchange(line_is_blank_, false);
    switch (text_[at_]) {
      case ' ':
      case '\t':
        line_is_blank_ = begins_line;
        break;
      case '#':
        at_ = std::min(text_.find('\n', at_), text_.size());
        return nullptr;
      case '"':
      case '\'':
        if (!value_can_begin() && !continues_key())
          return "a quotation mark where no string can begin";
        return skip_string(text_[at_]);
      case '.':
        if (++parts_ >= kMostKeyParts) return "a key of more than 16 parts";
        break;
      case '[':
      case '{':
        parts_ = 0;
        if (begins_line && open_.empty() && !is_header(text_.substr(at_)))
          return "a table header is written [NAME] or [[NAME]]";
        if (open_.size() == kMostNesting) return "values nested more than 16 deep";
        if (in_value_ && !value_can_begin()) return "a bracket where no value can begin";
        in_value_ = in_value_ && text_[at_] == '[';
        open_ += text_[at_];
        break;
      case ']':
      case '}':
        if (!open_.empty() && open_.back() != (text_[at_] == ']' ? '[' : '{'))
          return text_[at_] == ']' ? "']' where '}' is due" : "'}' where ']' is due";
        if (!open_.empty()) open_.pop_back();
        in_value_ = true;
        break;
      case '\n':
        line_is_blank_ = true;
        in_value_ = in_value_ && !open_.empty();
        parts_ = 0;
        break;
      case ',':
        in_value_ = open_.ends_with('[');
        parts_ = 0;
        break;
      case '=':
        if (in_value_) return "'=' within a value";
        in_value_ = true;
        parts_ = 0;
        break;
      default:
        if (!is_ascii(at_)) return "a character outside ASCII stands in quotation marks only";
        break;
    }
    ++at_;
    return nullptr;
  }

  /// Whether what begins with a bracket at the start of a line goes on with a key.
  static bool is_header(std::string_view rest) {
    rest.remove_prefix(rest.starts_with("[[") ? 2 : 1);
    const auto key = rest.find_first_not_of(" \t");
    return key != rest.npos && can_begin_key(rest[key]);
  }

  bool value_can_begin() const {
    return at_ == 0 || std::string_view(" \t\n=,[{").find(text_[at_ - 1]) != text_.npos;
  }

  bool continues_key() const { return !in_value_ && text_[at_ - 1] == '.'; }

  const char* skip_string(char quote) {
    const std::string triple(3, quote);
    const bool multi_line = text_.substr(at_, 3) == triple;
    at_ += multi_line ? 3 : 1;
    while (at_ < text_.size()) {
      if (quote == '"' && text_[at_] == '\\') {
        const auto next = multi_line ? text_.find_first_not_of(" \t\r\n", at_ + 1) : at_ + 1;
        if (multi_line && next < text_.size() && !is_ascii(next))
          return "after \\ at the end of a line a character outside ASCII is written \\uXXXX";
        at_ += 2;
      } else if (multi_line && text_.substr(at_, 3) == triple) {
        at_ += 3;
        // Up to two more quotes belong to the string: """she said "so"""".
        for (int more = 0; more < 2 && at_ < text_.size() && text_[at_] == quote; ++more) ++at_;
        return nullptr;
      } else if (!multi_line && (text_[at_] == quote || text_[at_] == '\n')) {
        ++at_;
        return nullptr;
      } else {
        ++at_;
      }
    }
    return nullptr;
  }

  bool is_ascii(std::size_t at) const { return (text_[at] & 0x80) == 0; }

  TomlPlace place() const {
    const std::string_view before = text_.substr(0, at_);
    TomlPlace result;
    result.line += static_cast<unsigned>(std::count(before.begin(), before.end(), '\n'));
    const std::string_view line = before.substr(before.rfind('\n') + 1);
    // Bytes 10xxxxxx go on with a character of UTF-8.
    result.column += static_cast<unsigned>(
        std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }));
    return result;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool line_is_blank_ = true;
  bool in_value_ = false;
  unsigned parts_ = 0;
  std::string open_;  ///< the brackets that are not closed
};

TomlPlace place_of(const toml::source_region& region) {
  return {std::max(region.begin.line, 1U), std::max(region.begin.column, 1U)};
}

TomlNode convert(const toml::node& node);

TomlTable convert_table(const toml::table& table) {
  TomlTable result;
  for (const auto& [key, value] : table)
    result.push_back({std::string(key.str()), place_of(key.source()), convert(value)});
  return result;
}

TomlArray convert_array(const toml::array& array) {
  TomlArray result;
  for (const toml::node& element : array) result.push_back(convert(element));
  return result;
}

/// Recursion is bounded by ParserGuard.
TomlNode convert(const toml::node& node) {
  TomlNode result{place_of(node.source()), TomlOther{"a date or time"}};
  if (const auto* string = node.as_string())
    result.value = string->get();
  else if (const auto* integer = node.as_integer())
    result.value = integer->get();
  else if (const auto* real = node.as_floating_point())
    result.value = real->get();
  else if (const auto* boolean = node.as_boolean())
    result.value = boolean->get();
  else if (const auto* array = node.as_array())
    result.value = convert_array(*array);
  else if (const auto* table = node.as_table())
    result.value = convert_table(*table);
  return result;
}

}  // namespace

std::variant<TomlNode, TomlSyntaxError> parse_toml(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (auto error = ParserGuard(text).check()) return *std::move(error);
  try {
    return convert(toml::parse(text));
  } catch (const toml::parse_error& error) {
    return TomlSyntaxError{place_of(error.source()), std::string(error.description())};
  }
}

}  // namespace serverd
