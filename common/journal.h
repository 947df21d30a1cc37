#pragma once

#include "common/os/unique_fd.h"

#include <span>
#include <string>
#include <string_view>

namespace serverd {

/// A field of a journal entry, see systemd.journal-fields(7).
struct JournalField {
  std::string_view name;  ///< A-Z, 0-9 and _
  std::string_view value;
};

/// Sends entries to the journal in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), one
/// datagram each. Unlike sd_journal_send(3) it never blocks, and needs no descriptor later than at
/// its construction.
class Journal final {
 public:
  static constexpr const char* kSocket = "/run/systemd/journal/socket";

  /// `path`: at most 107 bytes. Throws std::system_error if there can be no socket; whether the
  /// journal is there shows with each entry.
  explicit Journal(std::string path = kSocket);

  /// `priority` as in syslog(3). Line ends within values are sent as spaces, and long texts are
  /// cut. False: the journal did not take it, now.
  bool send(int priority, std::string_view text, std::span<const JournalField> fields = {}) const;

 private:
  std::string path_;
  UniqueFd fd_;
};

}  // namespace serverd
