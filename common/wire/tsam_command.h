#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

/// What the commands of the chat service say, once their frame is off (tsam_frame.h). All views
/// point into the text that was parsed. PROTOCOLS: chat.
namespace serverd::tsam {

enum class Verb {
  kUnknown,
  kHelo,
  kServers,
  kListServers,
  kKeepAlive,
  kSendMsg,
  kGetMsgs,
  kGetMsg,
  kStatusReq,
  kStatusResp,
  kLeave,
  kOk,
  kError,
};

/// How the fields stand behind the command word.
enum class Form {
  kBare,   ///< there are none: `SERVERS`
  kComma,  ///< `SENDMSG,bob,hello there`
  kWords,  ///< `SENDMSG bob hello there`
};

/// Who sent it: a client's SENDMSG has no sender field, a server's has.
enum class Origin { kClient, kServer };

struct Command {
  static constexpr std::size_t kMostFields = 3;

  Verb verb = Verb::kUnknown;
  Form form = Form::kBare;
  std::string_view name;  ///< the first word as it was sent; empty: the command is
  std::array<std::string_view, kMostFields> fields;
  std::size_t count = 0;  ///< of fields that are there, empty ones included

  /// Field `i`, empty if it is not there.
  std::string_view field(std::size_t i) const noexcept {
    return i < count && i < kMostFields ? fields[i] : "";
  }
};

/// Splits a command. Never fails: what is no command is kUnknown, with everything behind the first
/// word as one field. The word is taken in any case, and blanks before it are ignored (people
/// type).
///
/// The last field keeps its commas and blanks; blanks around the others are dropped. Fields:
///
///     SENDMSG      to, content          of a client
///                  to, from, content    of a server
///     HELO         text                 in words
///                  id, rest             with commas: a server says HELO
///     STATUSRESP   id, rest             (take_field; what follows differs with its sender)
///     OK, ERROR    what, rest
///     all others   rest
Command parse_command(std::string_view text, Origin origin);

/// Takes the text before the next `separator` off `rest`, and the separator too; empty if nothing
/// is left.
std::optional<std::string_view> take_field(std::string_view& rest, char separator = ',');

/// An entry of SERVERS.
struct ServerEntry {
  std::string_view id;
  std::string_view host;  ///< as it was sent: an address, or at least nothing that breaks the list
  int port = -1;          ///< -1: unknown, else 1..65535

  bool operator==(const ServerEntry&) const = default;
};

/// Takes the next well-formed entry off a list `id,host,port;id,host,port;…`, passing over others.
/// Empty at the end.
std::optional<ServerEntry> take_server(std::string_view& list);
void append_server(std::string& out, const ServerEntry& entry);

/// A count as in KEEPALIVE and STATUSRESP: decimal digits and nothing else; empty if it is no such
/// number or above 4,294,967,295.
std::optional<std::uint32_t> parse_count(std::string_view text);

inline constexpr std::size_t kLongestId = 32;

/// Whom a message can be for: 1 to kLongestId of A–Z a–z 0–9 _ and -. So are group ids (A5_43,
/// ORACLE), client names, and the numbers of clients without a name.
bool is_id(std::string_view text);
/// An id that a client may choose: not a number, which would be another client's.
bool is_name(std::string_view text);

/// Fields with commas between them. Only the last one may contain any.
std::string command_text(std::initializer_list<std::string_view> fields);

}  // namespace serverd::tsam
