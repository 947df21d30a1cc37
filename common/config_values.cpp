#include "common/config_values.h"

#include "common/wire/tsam_command.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>

#include <netinet/in.h>

namespace serverd {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};

/// Longest first, for format_duration.
constexpr std::array<Unit, 6> kUnits = {
    {{"d", 86'400'000}, {"h", 3'600'000}, {"min", 60'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};

constexpr std::string_view kDurationForm =
    "write a number and one of ms, s, min, h, d, as in \"5s\" or \"1.5h\"";

/// `whole`.`fraction` of a unit, both digits.
ParsedValue<Milliseconds> scale(std::string_view whole, std::string_view fraction,
                                std::int64_t unit) {
  const Problem too_fine{"finer than a millisecond"};
  while (!fraction.empty() && fraction.back() == '0') fraction.remove_suffix(1);
  // No unit is divisible by ten more than ten times (even a day is 2^10 · 5^5 · 27 ms).
  if (fraction.size() > 10) return too_fine;
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), count);
  if (error != std::errc() || count > std::numeric_limits<std::int64_t>::max() / 2 / unit)
    return Problem{"too long"};
  std::int64_t parts = 0;
  std::int64_t divisor = 1;
  for (const char digit : fraction) {
    parts = parts * 10 + (digit - '0');
    divisor *= 10;
  }
  if (parts * unit % divisor != 0) return too_fine;
  return Milliseconds(count * unit + parts * unit / divisor);
}

ParsedValue<std::uint16_t> parse_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || end != text.data() + text.size() || error != std::errc() || port == 0 ||
      port > 65535)
    return Problem{(text.empty() ? "nothing" : std::string(text)) + " is not a port (1–65535)"};
  return static_cast<std::uint16_t>(port);
}

struct PortRange {
  std::uint16_t first;
  std::uint16_t last;
};

ParsedValue<PortRange> parse_ports(std::string_view text) {
  const auto dash = text.find('-');
  const auto first = parse_port(text.substr(0, dash));
  if (const auto* problem = std::get_if<Problem>(&first)) return *problem;
  const auto last = dash == text.npos ? first : parse_port(text.substr(dash + 1));
  if (const auto* problem = std::get_if<Problem>(&last)) return *problem;
  const PortRange range{std::get<std::uint16_t>(first), std::get<std::uint16_t>(last)};
  if (range.last < range.first)
    return Problem{std::string(text) + " ends before it begins; write " +
                   std::to_string(range.last) + "-" + std::to_string(range.first)};
  return range;
}

bool is_v4_mapped(const SocketAddress& address) {
  return address.family() == AF_INET6 &&
         IN6_IS_ADDR_V4MAPPED(&reinterpret_cast<const sockaddr_in6*>(address.data())->sin6_addr);
}

ParsedValue<std::string> parse_host(std::string_view host, bool bracketed) {
  if (host.empty()) return Problem{"there is no address; for all addresses write *"};
  const bool is_v6 = host.find(':') != host.npos;
  if (is_v6 && !bracketed)
    return Problem{"an IPv6 address stands in brackets, as in \"[::1]:5000\""};
  if (!is_v6 && bracketed)
    return Problem{quoted(host) + " is not an IPv6 address; only those stand in brackets"};
  const auto address = SocketAddress::from_host(host, 0);
  if (address && is_v4_mapped(*address))
    return Problem{"an IPv4 address in IPv6 clothing; write the IPv4 address"};
  if (address) return address->host();
  if (host.find('%') != host.npos)
    return Problem{quoted(host) + " is not an IPv6 address with an interface of this machine"};
  if (is_v6 || host.find_first_not_of("0123456789.") == host.npos)
    return Problem{quoted(host) + (is_v6 ? " is not an IPv6 address" : " is not an IPv4 address")};
  return Problem{quoted(host) +
                 " is not an address, and names are not looked up; write one as in "
                 "\"127.0.0.1:5000\" or \"[::1]:5000\""};
}

ParsedValue<std::vector<ListenRange>> parse_inherited(std::string_view name) {
  // sd_listen_fds(3): at most 255 ASCII characters, no control characters, no colon.
  const bool good =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7F && c != ':'; });
  if (name.empty() || name.size() > 255 || !good)
    return Problem{"the name of an inherited socket has 1–255 printable characters without ':'"};
  ListenRange inherited;
  inherited.inherited_name = name;
  return std::vector{inherited};
}

/// "HOST:PORTS", taken apart only.
struct HostAndPorts {
  std::string_view host;
  std::string_view ports;
  bool bracketed;
};

ParsedValue<HostAndPorts> split_host(std::string_view text) {
  const auto no_port =
      Problem{"there is no port; write HOST:PORT or HOST:FIRST-LAST, as in \"127.0.0.1:5000\""};
  if (text.starts_with('[')) {
    const auto bracket = text.find(']');
    if (bracket == text.npos) return Problem{"the bracket is not closed"};
    if (text.substr(bracket + 1, 1) != ":") return no_port;
    return HostAndPorts{text.substr(1, bracket - 1), text.substr(bracket + 2), true};
  }
  const auto colon = text.rfind(':');
  if (colon == text.npos) return no_port;
  return HostAndPorts{text.substr(0, colon), text.substr(colon + 1), false};
}

/// Letters put in, left out, changed, or swapped with their neighbour.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

ParsedValue<Milliseconds> parse_duration(std::string_view text) {
  if (text.starts_with('-')) return Problem{"a duration cannot be negative"};
  const auto number_end = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view number = text.substr(0, number_end);
  const std::string_view unit_name = text.substr(number_end);
  const auto dot = number.find('.');
  const std::string_view whole = number.substr(0, dot);
  const std::string_view fraction = dot == number.npos ? "" : number.substr(dot + 1);
  const bool good_number = !whole.empty() && (dot == number.npos || !fraction.empty()) &&
                           std::all_of(fraction.begin(), fraction.end(), is_digit);
  if (!good_number) return Problem{"not a duration; " + std::string(kDurationForm)};
  if (unit_name.empty()) return Problem{"a duration has a unit; " + std::string(kDurationForm)};
  const auto unit = std::find_if(kUnits.begin(), kUnits.end(),
                                 [&](const Unit& known) { return known.name == unit_name; });
  if (unit == kUnits.end())
    return Problem{quoted(unit_name) + " is not a unit; " + std::string(kDurationForm)};
  return scale(whole, fraction, unit->milliseconds);
}

std::string format_duration(Milliseconds duration) {
  const std::int64_t count = duration.count();
  if (count == 0) return "0s";
  const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& candidate) {
    return count % candidate.milliseconds == 0;
  });
  return std::to_string(count / unit->milliseconds) + std::string(unit->name);
}

ParsedValue<std::vector<ListenRange>> parse_listen_item(std::string_view text) {
  constexpr std::string_view kInherited = "systemd:";
  if (text.starts_with(kInherited)) return parse_inherited(text.substr(kInherited.size()));
  const auto split = split_host(text);
  if (const auto* problem = std::get_if<Problem>(&split)) return *problem;
  const auto [host_text, port_text, bracketed] = std::get<HostAndPorts>(split);
  std::vector<std::string> hosts = {"0.0.0.0", "::"};
  if (bracketed || host_text != "*") {
    const auto host = parse_host(host_text, bracketed);
    if (const auto* problem = std::get_if<Problem>(&host)) return *problem;
    hosts = {std::get<std::string>(host)};
  }
  const auto ports = parse_ports(port_text);
  if (const auto* problem = std::get_if<Problem>(&ports)) return *problem;
  const PortRange range = std::get<PortRange>(ports);
  std::vector<ListenRange> result;
  result.reserve(hosts.size());
  for (std::string& host : hosts)
    result.push_back({std::move(host), range.first, range.last, /*inherited_name=*/{}});
  return result;
}

std::optional<Problem> check_peer(std::string_view text) {
  const auto parsed = parse_listen_item(text);
  if (const auto* problem = std::get_if<Problem>(&parsed)) return *problem;
  const auto& ranges = std::get<std::vector<ListenRange>>(parsed);
  const bool one = ranges.size() == 1 && ranges[0].inherited_name.empty() &&
                   ranges[0].first_port == ranges[0].last_port;
  if (one) return std::nullopt;
  return Problem{"write one address and port, as in \"192.0.2.1:4000\""};
}

std::optional<Problem> check_origin(std::string_view text) {
  if (text == "*") return std::nullopt;
  const std::size_t scheme = text.find("://");
  const std::string_view rest = scheme == text.npos ? "" : text.substr(scheme + 3);
  const bool good = std::all_of(rest.begin(), rest.end(), [](char c) {
    return c > ' ' && c < 0x7F && std::string_view("/?#@,\\\"").find(c) == std::string_view::npos;
  });
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const bool good_scheme =
      scheme != text.npos && std::all_of(text.begin(), text.begin() + scheme, is_letter);
  if (good_scheme && scheme > 0 && good && !rest.empty() && text.size() <= 300) return std::nullopt;
  return Problem{"not the origin of a page, as in \"https://example.org:8443\"; \"*\" is any"};
}

std::optional<Problem> check_server_id(std::string_view id) {
  if (tsam::is_name(id)) return std::nullopt;
  return Problem{"an id has 1–32 of the characters A–Z, a–z, 0–9, '_', '-' and is not a number"};
}

std::optional<Problem> check_name(std::string_view name) {
  const bool good = std::all_of(name.begin(), name.end(), [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '.' || c == '-';
  });
  if (good && !name.empty() && name.size() <= 64 && name[0] != '.') return std::nullopt;
  return Problem{
      "a name has 1–64 of the characters A–Z, a–z, 0–9, '_', '.', '-' and does not begin with a "
      "dot"};
}

std::string_view nearest_word(std::string_view word, const std::vector<std::string_view>& known) {
  if (word.size() > 64) return {};
  for (const std::string_view candidate : known)
    if (word.size() >= 3 && candidate.starts_with(word)) return candidate;
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= best_distance) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::size_t end = std::min(text.size(), kLongest);
  while (end > 0 && end < text.size() && (text[end] & 0xC0) == 0x80) --end;
  return "\"" + std::string(text.substr(0, end)) + (end < text.size() ? "…\"" : "\"");
}

}  // namespace serverd
