#pragma once

#include "common/config.h"

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

/// The values of settings as text: what stream-serverd.toml(5) says about durations, addresses and
/// names. Pure functions; a text that is not a value gives a Problem.
namespace serverd {

/// What is wrong and what would be right; the value itself is named by the caller.
struct Problem {
  std::string text;

  bool operator==(const Problem&) const = default;
};

template <typename Value>
using ParsedValue = std::variant<Value, Problem>;

/// A setting that is one of a few words.
template <typename Value, std::size_t kCount>
using Words = std::array<std::pair<std::string_view, Value>, kCount>;

inline constexpr Words<log::Level, 4> kLogLevels = {{{"debug", log::Level::kDebug},
                                                     {"info", log::Level::kInfo},
                                                     {"warning", log::Level::kWarning},
                                                     {"error", log::Level::kError}}};
inline constexpr Words<log::Target, 3> kLogTargets = {{{"auto", log::Target::kAuto},
                                                       {"journal", log::Target::kJournal},
                                                       {"stderr", log::Target::kStderr}}};
inline constexpr Words<bool, 2> kBindFailures = {{{"fail", false}, {"skip", true}}};
inline constexpr Words<SandboxMode, 3> kSandboxModes = {
    {{"on", SandboxMode::kOn}, {"required", SandboxMode::kRequired}, {"off", SandboxMode::kOff}}};
inline constexpr Words<bool, 2> kStreamFiles = {{{"per-port", false}, {"per-connection", true}}};
inline constexpr Words<AccioHandshake, 3> kAccioHandshakes = {
    {{"auto", AccioHandshake::kAuto},
     {"none", AccioHandshake::kNone},
     {"required", AccioHandshake::kRequired}}};
inline constexpr Words<bool, 2> kAccioExisting = {{{"continue", false}, {"replace", true}}};

/// "5s", "100ms", "1.5h", "0s": a decimal number and one of ms, s, min (or m), h, d. Whole
/// milliseconds, not negative.
ParsedValue<Milliseconds> parse_duration(std::string_view text);

/// The shortest text that parse_duration takes back: "90s", "1h".
std::string format_duration(Milliseconds duration);

/// One item of `listen`: "HOST:PORT", "HOST:LOW-HIGH" (HOST an IPv4 address, an IPv6 address in
/// brackets, or * for 0.0.0.0 and [::], which gives two ranges), "systemd:NAME". The host is given
/// back in its usual spelling.
ParsedValue<std::vector<ListenRange>> parse_listen_item(std::string_view text);

/// Empty if `text` is one numeric address and port, as a peer's: "127.0.0.1:4000", "[::1]:4000".
std::optional<Problem> check_peer(std::string_view text);

/// Empty if `text` is "*" or a web page's origin, "SCHEME://HOST[:PORT]" (RFC 6454).
std::optional<Problem> check_origin(std::string_view text);

/// Empty if `id` can be a chat server's.
std::optional<Problem> check_server_id(std::string_view id);

/// Empty if `name` can name an instance or a service.
std::optional<Problem> check_name(std::string_view name);

/// The one of `known` that `word` was probably meant to be; empty if none is near.
std::string_view nearest_word(std::string_view word, const std::vector<std::string_view>& known);

/// In quotation marks, cut where it is long.
std::string quoted(std::string_view text);

}  // namespace serverd
