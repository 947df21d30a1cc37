#include "common/config_table.h"

#include "common/printable.h"

#include <algorithm>
#include <utility>

namespace serverd {
namespace {

/// "5 is an integer", "this is a table".
std::string describe(const TomlNode& node) {
  struct Describer {
    std::string operator()(const std::string& text) { return quoted(text) + " is a string"; }
    std::string operator()(std::int64_t number) { return fmt::format("{} is an integer", number); }
    std::string operator()(double number) { return fmt::format("{} is a float", number); }
    std::string operator()(bool value) { return fmt::format("{} is a boolean", value); }
    std::string operator()(const TomlOther& other) { return "this is " + other.kind; }
    std::string operator()(const TomlArray&) { return "this is an array"; }
    std::string operator()(const TomlTable&) { return "this is a table"; }
  };
  return std::visit(Describer(), node.value);
}

/// As it would be written in TOML.
std::string key_text(std::string_view key) {
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-';
  });
  return bare && key.size() <= 64 ? std::string(key) : quoted(key);
}

std::string join(const std::vector<std::string_view>& words) {
  std::string result;
  for (const std::string_view word : words) {
    if (!result.empty()) result += ", ";
    result += word;
  }
  return result;
}

/// "; did you mean "x"?" or "; known are x, y".
std::string suggestion(std::string_view word, std::vector<std::string_view> known) {
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  const std::string_view nearest = nearest_word(word, known);
  return nearest.empty() ? "; known are " + join(known) : "; did you mean " + quoted(nearest) + "?";
}

}  // namespace

void Complaints::add(TomlPlace place, std::string_view path, std::string_view what) {
  found_.push_back({place, fmt::format("{}: {}", path, what)});
}

ConfigErrors Complaints::in_file(const std::string& file) const {
  std::vector<Complaint> sorted = found_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Complaint& a, const Complaint& b) { return a.place < b.place; });
  ConfigErrors errors;
  for (const auto& [place, text] : sorted)
    errors.lines.push_back(
        printable(fmt::format("{}:{}:{}: {}", file, place.line, place.column, text)));
  return errors;
}

TableReader::TableReader(const TomlNode& node, std::string path, Complaints& complaints)
    : node_(node), path_(std::move(path)), complaints_(complaints) {}

const TomlNode* TableReader::find(std::string_view key) {
  known_.push_back(key);
  for (const TomlEntry& entry : std::get<TomlTable>(node_.value))
    if (entry.key == key) return &entry.value;
  return nullptr;
}

const TomlNode* TableReader::require(std::string_view key, std::string_view form) {
  const TomlNode* node = find(key);
  if (node == nullptr) complain(node_, key, fmt::format("missing; write {}", form));
  return node;
}

const std::string* TableReader::string(std::string_view key, const TomlNode& node,
                                       std::string_view form) {
  const auto* text = std::get_if<std::string>(&node.value);
  if (text == nullptr) complain_of_kind(node, key, form);
  return text;
}

const TomlNode* TableReader::read(
    std::string_view key, std::string& field,
    const std::function<std::optional<Problem>(std::string_view)>& check) {
  const TomlNode* node = find(key);
  const std::string* text = node == nullptr ? nullptr : string(key, *node, "a string");
  if (text == nullptr) return nullptr;
  if (const auto problem = check(*text)) {
    complain(*node, key, fmt::format("{}: {}", quoted(*text), problem->text));
    return nullptr;
  }
  field = *text;
  return node;
}

const TomlNode* TableReader::read(std::string_view key, unsigned& field, unsigned least,
                                  unsigned most) {
  const TomlNode* node = find(key);
  if (node == nullptr) return nullptr;
  const auto* number = std::get_if<std::int64_t>(&node->value);
  if (number == nullptr) {
    complain_of_kind(*node, key, fmt::format("an integer ({}–{})", least, most));
    return nullptr;
  }
  if (*number < least || *number > most) {
    complain(*node, key, fmt::format("{} is out of range ({}–{})", *number, least, most));
    return nullptr;
  }
  field = static_cast<unsigned>(*number);
  return node;
}

const TomlNode* TableReader::read(std::string_view key, double& field, double most) {
  const TomlNode* node = find(key);
  if (node == nullptr) return nullptr;
  const auto* integer = std::get_if<std::int64_t>(&node->value);
  const auto* real = std::get_if<double>(&node->value);
  if (integer == nullptr && real == nullptr) {
    complain_of_kind(*node, key, fmt::format("a number above 0, at most {}", most));
    return nullptr;
  }
  const double number = integer != nullptr ? static_cast<double>(*integer) : *real;
  if (!(number > 0 && number <= most)) {
    complain(*node, key, fmt::format("{} is out of range (above 0, at most {})", number, most));
    return nullptr;
  }
  field = number;
  return node;
}

const TomlNode* TableReader::read(std::string_view key, std::optional<bool>& field) {
  const TomlNode* node = find(key);
  if (node == nullptr) return nullptr;
  const auto* truth = std::get_if<bool>(&node->value);
  if (truth == nullptr) {
    complain_of_kind(*node, key, "true or false");
    return nullptr;
  }
  field = *truth;
  return node;
}

const TomlNode* TableReader::read(
    std::string_view key, std::vector<std::string>& field, std::size_t most,
    const std::function<std::optional<Problem>(std::string_view)>& check) {
  const TomlNode* node = find(key);
  if (node == nullptr) return nullptr;
  const auto* items = std::get_if<TomlArray>(&node->value);
  if (items == nullptr) {
    complain_of_kind(*node, key, "an array of strings");
    return nullptr;
  }
  if (items->size() > most) {
    complain(*node, key, fmt::format("{} items (0–{})", items->size(), most));
    return nullptr;
  }
  std::vector<std::string> found;
  for (const TomlNode& item : *items) {
    const std::string* text = string(key, item, "a string");
    if (text == nullptr) continue;
    if (const auto problem = check(*text))
      complain(item, key, fmt::format("{}: {}", quoted(*text), problem->text));
    else
      found.push_back(*text);
  }
  if (found.size() != items->size()) return nullptr;
  field = std::move(found);
  return node;
}

const TomlNode* TableReader::read(std::string_view key, Milliseconds& field, Milliseconds least,
                                  Milliseconds most) {
  const TomlNode* node = find(key);
  const std::string* text =
      node == nullptr ? nullptr : string(key, *node, "a string with a unit, as in \"5s\"");
  if (text == nullptr) return nullptr;
  const auto duration = parse_duration(*text);
  if (const auto* problem = std::get_if<Problem>(&duration)) {
    complain(*node, key,
             fmt::format("{}: {} ({}–{})", quoted(*text), problem->text, format_duration(least),
                         format_duration(most)));
    return nullptr;
  }
  const Milliseconds value = std::get<Milliseconds>(duration);
  if (value < least || value > most) {
    complain(*node, key,
             fmt::format("{} is out of range ({}–{})", quoted(*text), format_duration(least),
                         format_duration(most)));
    return nullptr;
  }
  field = value;
  return node;
}

const std::string* TableReader::one_of(std::string_view key, const TomlNode& node,
                                       const std::vector<std::string_view>& names) {
  const std::string* word = string(key, node, "a string, one of " + join(names));
  if (word == nullptr) return nullptr;
  if (std::find(names.begin(), names.end(), *word) != names.end()) return word;
  const std::string_view nearest = nearest_word(*word, names);
  complain(node, key,
           fmt::format("{} is not one of {}{}", quoted(*word), join(names),
                       nearest.empty() ? "" : "; did you mean " + quoted(nearest) + "?"));
  return nullptr;
}

void TableReader::complain(const TomlNode& node, std::string_view key, std::string_view what) {
  complaints_.add(node.place, path_of(key), what);
}

void TableReader::complain_of_kind(const TomlNode& node, std::string_view key,
                                   std::string_view form) {
  complain(node, key, fmt::format("{}; write {}", describe(node), form));
}

void TableReader::finish() {
  for (const TomlEntry& entry : std::get<TomlTable>(node_.value)) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    const bool is_table = std::holds_alternative<TomlTable>(entry.value.value);
    complaints_.add(entry.key_place, path_of(entry.key),
                    (is_table ? "unknown table" : "unknown key") + suggestion(entry.key, known_));
  }
}

void TableReader::also_knows(const TableReader& other) {
  known_.insert(known_.end(), other.known_.begin(), other.known_.end());
}

std::string TableReader::path_of(std::string_view key) const {
  return path_.empty() ? key_text(key) : path_ + "." + key_text(key);
}

}  // namespace serverd
