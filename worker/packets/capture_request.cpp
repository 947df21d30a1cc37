#include "worker/packets/capture_request.h"

#include "common/config_values.h"
#include "common/printable.h"

#include <boost/url/src.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <vector>

#include <arpa/inet.h>

namespace serverd::packets {
namespace {

namespace urls = boost::urls;

enum Parameter : std::size_t {
  kInterface,
  kP,
  kHost,
  kSourceHost,
  kDestinationHost,
  kSourcePort,
  kDestinationPort,
  kTcp,
  kUdp,
  kBpf,
  kSnapLength,
  kCount,
  kSelf,
  kFormat,
  kParameters,
};

constexpr std::array<std::string_view, kParameters> kNames = {
    "i",   "p",   "h",   "h.src",   "h.dst", "p.src", "p.dst",
    "tcp", "udp", "bpf", "snaplen", "count", "self",  "format"};

/// Ways in which libraries keep caches away, or say again where a stream ended.
constexpr std::array<std::string_view, 2> kPassedOver = {"_", "lastEventId"};

/// What is thrown and caught in this file only.
struct Refusal {
  std::string text;
};

template <typename... Values>
[[noreturn]] void refuse(fmt::format_string<Values...> format, Values&&... values) {
  throw Refusal{fmt::format(format, std::forward<Values>(values)...)};
}

std::string shown(std::string_view text) { return quoted(printable(text)); }

/// One per parameter; not engaged where it is absent or empty.
using Values = std::array<std::optional<std::string>, kParameters>;

std::string decoded(std::string_view text) {
  const auto encoded = urls::make_pct_string_view({text.data(), text.size()});
  if (!encoded) refuse("{}: wrong percent-encoding", shown(text));
  urls::encoding_opts options;
  options.space_as_plus = true;
  std::string result = encoded->decode(options);
  if (result.find('\0') != std::string::npos) refuse("{}: holds a NUL character", shown(text));
  return result;
}

Parameter parameter_of(const std::string& name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found != kNames.end()) return static_cast<Parameter>(found - kNames.begin());
  const std::string_view near = nearest_word(name, {kNames.begin(), kNames.end()});
  if (!near.empty()) refuse("{}: unknown parameter; is {} meant?", shown(name), near);
  refuse("{}: unknown parameter; there are {}", shown(name), fmt::join(kNames, ", "));
}

void take(Values& values, std::string_view item) {
  const std::size_t equals = std::min(item.find('='), item.size());
  const std::string name = decoded(item.substr(0, equals));
  std::string value = decoded(item.substr(std::min(equals + 1, item.size())));
  if (value.empty() || std::count(kPassedOver.begin(), kPassedOver.end(), name) > 0) return;
  std::optional<std::string>& place = values[parameter_of(name)];
  if (place) refuse("{}: given more than once", name);
  place = std::move(value);
}

Values split(std::string_view query) {
  Values values;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    if (end > 0) take(values, query.substr(0, end));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return values;
}

/// Takes what there is of a request's parameters, by name.
class Reader final {
 public:
  explicit Reader(const Values& values) noexcept : values_(values) {}

  const std::optional<std::string>& text(Parameter parameter) const noexcept {
    return values_[parameter];
  }

  template <typename Number>
  std::optional<Number> number(Parameter parameter, Number least, Number most) const {
    const auto& value = values_[parameter];
    if (!value) return std::nullopt;
    Number number{};
    const char* const end = value->data() + value->size();
    const auto [stop, error] = std::from_chars(value->data(), end, number);
    if (stop != end || error == std::errc::invalid_argument)
      refuse("{}: {} is not a number", kNames[parameter], shown(*value));
    if (error != std::errc() || number < least || number > most)
      refuse("{}: {} is out of range ({} to {})", kNames[parameter], shown(*value), least, most);
    return number;
  }

  std::optional<std::uint16_t> port(Parameter parameter) const {
    return number<std::uint16_t>(parameter, 0, std::numeric_limits<std::uint16_t>::max());
  }

  std::optional<Address> address(Parameter parameter) const {
    const auto& value = values_[parameter];
    if (!value) return std::nullopt;
    Address address;
    if (::inet_pton(AF_INET, value->c_str(), address.bytes.data()) == 1) return address;
    address.is_v6 = true;
    if (::inet_pton(AF_INET6, value->c_str(), address.bytes.data()) == 1) return address;
    refuse("{}: {} is not an IPv4 or IPv6 address", kNames[parameter], shown(*value));
  }

  bool flag(Parameter parameter) const {
    const auto& value = values_[parameter];
    if (!value || *value == "false" || *value == "0") return false;
    if (*value == "true" || *value == "1") return true;
    refuse("{}: {} is neither true nor false", kNames[parameter], shown(*value));
  }

 private:
  const Values& values_;
};

std::optional<Transport> flagged_transport(const Reader& reader) {
  const bool tcp = reader.flag(kTcp);
  const bool udp = reader.flag(kUdp);
  if (tcp == udp) return std::nullopt;
  return tcp ? Transport::kTcp : Transport::kUdp;
}

/// `p`, which is a transport or a port, and `tcp`, `udp`.
void read_transport(const Reader& reader, CaptureRequest& request) {
  request.transport = flagged_transport(reader);
  const auto& p = reader.text(kP);
  if (!p) return;
  if (*p != "tcp" && *p != "udp") {
    if (p->find_first_not_of("0123456789") != std::string::npos)
      refuse("p: {} is neither tcp nor udp nor a port (0 to 65535)", shown(*p));
    request.port = reader.port(kP);
    return;
  }
  const Transport named = *p == "tcp" ? Transport::kTcp : Transport::kUdp;
  if (request.transport && *request.transport != named)
    refuse("p={} and {}=true contradict each other", *p, *p == "tcp" ? "udp" : "tcp");
  request.transport = named;
}

void read_ports(const Reader& reader, CaptureRequest& request) {
  request.source_port = reader.port(kSourcePort);
  request.destination_port = reader.port(kDestinationPort);
  if (request.source_port || request.destination_port) request.port.reset();
}

void read_hosts(const Reader& reader, CaptureRequest& request) {
  request.host = reader.address(kHost);
  request.source_host = reader.address(kSourceHost);
  request.destination_host = reader.address(kDestinationHost);
  if (request.source_host || request.destination_host) request.host.reset();
  if (request.source_host && request.destination_host &&
      request.source_host->is_v6 != request.destination_host->is_v6)
    refuse("h.src and h.dst contradict each other: no packet is both IPv4 and IPv6");
}

CaptureRequest::Format read_format(const Reader& reader) {
  const auto& format = reader.text(kFormat);
  if (!format || *format == "events") return CaptureRequest::Format::kEvents;
  if (*format == "pcapng") return CaptureRequest::Format::kPcapng;
  refuse("format: {} is neither events nor pcapng", shown(*format));
}

CaptureRequest read_request(const Reader& reader) {
  CaptureRequest request;
  if (!reader.text(kInterface)) refuse("interface required");
  request.interface = *reader.text(kInterface);
  read_transport(reader, request);
  read_ports(reader, request);
  read_hosts(reader, request);
  request.bpf = reader.text(kBpf).value_or("");
  request.snap_length = reader.number<std::uint32_t>(kSnapLength, 1, kLargestSnapLength);
  request.count =
      reader.number<std::uint64_t>(kCount, 1, std::numeric_limits<std::uint64_t>::max());
  request.self = reader.flag(kSelf);
  request.format = read_format(reader);
  return request;
}

}  // namespace

std::variant<CaptureRequest, BadRequest> parse_capture_request(std::string_view query) {
  try {
    const Values values = split(query);
    return read_request(Reader(values));
  } catch (const Refusal& refusal) {
    return BadRequest{refusal.text};
  }
}

}  // namespace serverd::packets
