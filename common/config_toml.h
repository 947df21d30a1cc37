#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace serverd {

/// Where something stands in a text; both count from 1, columns in characters.
struct TomlPlace {
  unsigned line = 1;
  unsigned column = 1;

  bool operator<(const TomlPlace& other) const noexcept {
    return line != other.line ? line < other.line : column < other.column;
  }
};

struct TomlNode;
struct TomlEntry;

/// A kind of value that no setting of ours has (a date, a time), by its name with an article.
struct TomlOther {
  std::string kind;
};

using TomlArray = std::vector<TomlNode>;
using TomlTable = std::vector<TomlEntry>;  ///< keys are unique

/// A TOML value and its place.
struct TomlNode {
  TomlPlace place;
  std::variant<std::string, std::int64_t, double, bool, TomlOther, TomlArray, TomlTable> value;
};

struct TomlEntry {
  std::string key;
  TomlPlace key_place;
  TomlNode value;
};

struct TomlSyntaxError {
  TomlPlace place;
  std::string what;
};

/// Parses a TOML document (toml.io, 1.0); the node given back is a table. Never throws for bad
/// text, whatever its bytes; what is nested too deep to be meant is a syntax error.
std::variant<TomlNode, TomlSyntaxError> parse_toml(std::string_view text);

}  // namespace serverd
