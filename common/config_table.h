#pragma once

#include "common/config.h"
#include "common/config_toml.h"
#include "common/config_values.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace serverd {

/// Collects what is wrong with a text, in any order.
class Complaints final {
 public:
  void add(TomlPlace place, std::string_view path, std::string_view what);
  bool empty() const noexcept { return found_.empty(); }
  /// "FILE:LINE:COLUMN: path: what", by place and safe for a terminal.
  ConfigErrors in_file(const std::string& file) const;

 private:
  struct Complaint {
    TomlPlace place;
    std::string text;
  };

  std::vector<Complaint> found_;
};

/// Reads the keys of one table into fields: a key that is missing or wrong leaves its field as it
/// is, and what is wrong is complained about. The `read` functions return the value's node if it
/// was taken, else null. Borrows node and complaints.
class TableReader final {
 public:
  /// `path` names the table ("daemon"; empty for the document). `node` must be a table.
  TableReader(const TomlNode& node, std::string path, Complaints& complaints);

  /// The node of a key, whatever its kind, or null.
  const TomlNode* find(std::string_view key);
  /// As `find`; a missing key is complained about with `form`, which says how it is written.
  const TomlNode* require(std::string_view key, std::string_view form);

  /// The string of a key that was found; null, and a complaint, if it is no string.
  const std::string* string(std::string_view key, const TomlNode& node, std::string_view form);

  /// A string that `check` finds no Problem with.
  const TomlNode* read(std::string_view key, std::string& field,
                       const std::function<std::optional<Problem>(std::string_view)>& check);
  /// An integer from `least` to `most`.
  const TomlNode* read(std::string_view key, unsigned& field, unsigned least, unsigned most);
  /// A number above 0 and up to `most`.
  const TomlNode* read(std::string_view key, double& field, double most);
  const TomlNode* read(std::string_view key, std::optional<bool>& field);
  /// Strings, at most `most`, that `check` finds no Problem with.
  const TomlNode* read(std::string_view key, std::vector<std::string>& field, std::size_t most,
                       const std::function<std::optional<Problem>(std::string_view)>& check);
  /// A duration from `least` to `most`.
  const TomlNode* read(std::string_view key, Milliseconds& field, Milliseconds least,
                       Milliseconds most);
  /// One of a few words.
  template <typename Value, std::size_t kCount>
  const TomlNode* read(std::string_view key, Value& field, const Words<Value, kCount>& words) {
    std::vector<std::string_view> names;
    for (const auto& [name, value] : words) names.push_back(name);
    const TomlNode* node = find(key);
    const std::string* word = node == nullptr ? nullptr : one_of(key, *node, names);
    if (word == nullptr) return nullptr;
    for (const auto& [name, value] : words)
      if (name == *word) field = value;
    return node;
  }

  /// The string of a key that was found, if it is one of `names`; else null, and a complaint.
  const std::string* one_of(std::string_view key, const TomlNode& node,
                            const std::vector<std::string_view>& names);

  void complain(const TomlNode& node, std::string_view key, std::string_view what);
  /// Complains that `node` is of the wrong kind; `form` says how it is written.
  void complain_of_kind(const TomlNode& node, std::string_view key, std::string_view form);

  /// Complains about every key that nobody asked for. Call it last.
  void finish();
  /// Takes over the keys that `other` was asked for.
  void also_knows(const TableReader& other);

 private:
  std::string path_of(std::string_view key) const;

  const TomlNode& node_;
  std::string path_;
  Complaints& complaints_;
  std::vector<std::string_view> known_;  ///< literals
};

}  // namespace serverd
