#include "common/config.h"

#include "common/config_ports.h"
#include "common/config_table.h"
#include "common/config_toml.h"
#include "common/config_values.h"
#include "common/os/error.h"
#include "common/os/unique_fd.h"
#include "common/printable.h"

#include <climits>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kLargestText = 1 << 20;
constexpr std::size_t kMostListenItems = 256;

std::optional<Problem> check_user(std::string_view user) {
  const bool good = std::none_of(user.begin(), user.end(), [](char c) {
    return (c >= 0 && c <= ' ') || c == 0x7F || c == ':' || c == '/';
  });
  if (good && user.size() <= 256) return std::nullopt;
  return Problem{"not a user's name; \"\" keeps root"};
}

std::optional<Problem> check_directory(std::string_view path) {
  if (path.empty()) return Problem{"the directory must be named; \".\" is the current one"};
  if (path.find('\0') != path.npos) return Problem{"a path cannot contain a NUL character"};
  if (path.size() >= PATH_MAX) return Problem{"a path has at most 4095 bytes"};
  return std::nullopt;
}

void read_daemon(TableReader& table, DaemonConfig& daemon) {
  table.read("name", daemon.name, check_name);
  table.read("log_level", daemon.log_level, kLogLevels);
  table.read("log_target", daemon.log_target, kLogTargets);
  table.read("user", daemon.user, check_user);
  table.read("stop_timeout", daemon.stop_timeout, 0ms, 1h);
  table.read("drain_timeout", daemon.drain_timeout, 0ms, 24h);
  table.read("on_bind_failure", daemon.skip_bind_failures, kBindFailures);
  table.read("sandbox", daemon.sandbox, kSandboxModes);
  std::optional<bool> survive_kill;
  table.read("survive_kill", survive_kill);
  daemon.survive_kill = survive_kill.value_or(daemon.survive_kill);
}

void read_restart(TableReader& table, RestartConfig& restart) {
  table.read("rate", restart.rate, 1, 1000);
  const TomlNode* initial = table.read("initial", restart.initial, 1ms, 1h);
  const TomlNode* maximum = table.read("maximum", restart.maximum, 1ms, 24h);
  table.read("quarantine_after", restart.quarantine_after, 1, 1000);
  table.read("quarantine_window", restart.quarantine_window, 1s, 24h);
  table.read("probe_interval", restart.probe_interval, 100ms, 24h);
  table.read("healthy_after", restart.healthy_after, 100ms, 24h);
  table.read("start_timeout", restart.start_timeout, 100ms, 1h);
  const TomlNode* watchdog = table.read("watchdog", restart.watchdog, 0ms, 1h);
  if (watchdog != nullptr && restart.watchdog > 0ms && restart.watchdog < 100ms)
    table.complain(*watchdog, "watchdog",
                   fmt::format("{} is too short; write \"0s\" for none, or 100 ms to 1 h",
                               format_duration(restart.watchdog)));
  table.read("blame_after", restart.blame_after, 1, 1000);
  if (restart.maximum >= restart.initial) return;
  const std::string what =
      fmt::format("maximum {} is shorter than initial {}; write one that is not",
                  format_duration(restart.maximum), format_duration(restart.initial));
  if (maximum != nullptr)
    table.complain(*maximum, "maximum", what);
  else if (initial != nullptr)
    table.complain(*initial, "initial", what);
}

ProtocolConfig read_stream(TableReader& table) {
  StreamConfig stream;
  table.read("output", stream.output, check_directory);
  table.read("files", stream.file_per_connection, kStreamFiles);
  return stream;
}

ProtocolConfig read_accio(TableReader& table) {
  AccioConfig accio;
  table.read("output", accio.output, check_directory);
  table.read("handshake", accio.handshake, kAccioHandshakes);
  table.read("existing", accio.replace_existing, kAccioExisting);
  return accio;
}

ProtocolConfig read_monitor(TableReader&) { return MonitorConfig{}; }

bool is_one_port(const std::vector<ListenRange>& ranges) {
  return std::all_of(ranges.begin(), ranges.end(), [&](const ListenRange& range) {
    return range.first_port == ranges.front().first_port && range.first_port == range.last_port &&
           range.inherited_name == ranges.front().inherited_name;
  });
}

/// Each port counts by itself.
void check_accio(TableReader& table, const ServiceConfig& service) {
  const auto* accio = std::get_if<AccioConfig>(&service.protocol);
  if (accio == nullptr || !accio->replace_existing || is_one_port(service.listen)) return;
  table.complain(*table.find("existing"), "existing",
                 "\"replace\" with more than one port, which would replace each other's files; "
                 "write one service for each, with directories of their own");
}

std::optional<Problem> check_database(std::string_view name) {
  if (name == ":memory:") return std::nullopt;
  if (!name.empty() && name.size() <= 200 && name[0] != ':' && name != "." && name != ".." &&
      name.find_first_of(std::string_view("/\0", 2)) == name.npos)
    return std::nullopt;
  return Problem{"not the name of a file in `output`, nor \":memory:\""};
}

ProtocolConfig read_chat(TableReader& table) {
  ChatConfig chat;
  table.read("output", chat.output, check_directory);
  table.read("database", chat.database, check_database);
  table.read("server_id", chat.server_id, check_server_id);
  table.read("peers", chat.peers, 64, check_peer);
  table.read("max_peers", chat.max_peers, 0, 64);
  table.read("min_peers", chat.min_peers, 0, 64);
  table.read("message_ttl", chat.message_ttl, 1s, 24h * 3650);
  table.read("max_messages", chat.max_messages, 1, 100'000'000);
  table.read("max_messages_per_recipient", chat.max_messages_per_recipient, 1, 100'000'000);
  table.read("overload_threshold", chat.overload_threshold, 1.0);
  table.read("open_mailboxes", chat.open_mailboxes);
  return chat;
}

ProtocolConfig read_packets(TableReader& table) {
  PacketsConfig packets;
  table.read("cors_origins", packets.cors_origins, 64, check_origin);
  table.read("max_captures", packets.max_captures, 1, 10'000);
  table.read("ring_kib", packets.ring_kib, 512, 1'048'576);
  table.read("queue_kib", packets.queue_kib, 256, 1'048'576);
  table.read("snap_length", packets.snap_length, 64, 262'144);
  table.read("request_timeout", packets.request_timeout, 100ms, 1h);
  return packets;
}

/// A protocol and the reader of its own keys, in the order of ProtocolConfig.
struct Protocol {
  const char* name;
  ProtocolConfig (*read)(TableReader& table);
  Milliseconds idle_timeout;  ///< by default
};

constexpr std::array<Protocol, std::variant_size_v<ProtocolConfig>> kProtocols = {
    {{"stream", read_stream, 0ms},
     {"accio", read_accio, 10s},
     {"monitor", read_monitor, 0ms},
     {"chat", read_chat, 5min},
     {"packets", read_packets, 1min}}};

/// Reads a whole text: the document's tables and what must hold between them.
class DocumentReader final {
 public:
  DocumentReader(const TomlNode& document, ConfigUse use)
      : use_(use), table_(document, "", complaints_) {}

  Config read() {
    read_section("daemon", [&](TableReader& table) { read_daemon(table, config_.daemon); });
    read_section("restart", [&](TableReader& table) { read_restart(table, config_.restart); });
    read_services();
    table_.finish();
    check_listen_items(std::move(listen_items_), complaints_);
    return std::move(config_);
  }

  const Complaints& complaints() const noexcept { return complaints_; }

 private:
  template <typename Read>
  void read_section(std::string_view key, Read read) {
    const TomlNode* node = table_.find(key);
    if (node == nullptr) return;
    if (!std::holds_alternative<TomlTable>(node->value)) {
      table_.complain_of_kind(*node, key, fmt::format("a table, [{}]", key));
      return;
    }
    TableReader table(*node, std::string(key), complaints_);
    read(table);
    table.finish();
  }

  void read_services() {
    constexpr std::string_view kForm = "tables with two brackets, [[service]]";
    const TomlNode* node = table_.require("service", "at least one [[service]]");
    if (node == nullptr) return;
    const auto* services = std::get_if<TomlArray>(&node->value);
    if (services == nullptr) {
      table_.complain_of_kind(*node, "service", kForm);
      return;
    }
    if (services->empty()) table_.complain(*node, "service", "empty; write at least one");
    for (const TomlNode& service : *services) {
      if (std::holds_alternative<TomlTable>(service.value))
        read_service(service);
      else
        table_.complain_of_kind(service, "service", kForm);
    }
    if (use_ == ConfigUse::kWorker && services->size() > 1)
      table_.complain((*services)[1], "service", "a worker has one service; this is a second");
  }

  void read_service(const TomlNode& node) {
    ServiceConfig service;
    TableReader table(node, "service", complaints_);
    read_service_name(table, service);
    read_listen(table, service);
    table.read("max_connections", service.max_connections, 1, 1'000'000);
    read_protocol(table, node, service);
    table.read("idle_timeout", service.idle_timeout, 0ms, 24h * 30);
    check_accio(table, service);
    table.finish();
    check_one_port(table, node, service);
    config_.services.push_back(std::move(service));
  }

  /// Messages belong to a server, and a server is where its port is.
  void check_one_port(TableReader& table, const TomlNode& node, const ServiceConfig& service) {
    if (!std::holds_alternative<ChatConfig>(service.protocol)) return;
    for (const ListenRange& range : service.listen) {
      if (range.first_port == range.last_port &&
          range.first_port == service.listen.front().first_port)
        continue;
      table.complain(node, "listen", "a chat server has one port; write a [[service]] for each");
      return;
    }
  }

  void read_service_name(TableReader& table, ServiceConfig& service) {
    if (table.require("name", "name = \"NAME\"") == nullptr) return;
    const TomlNode* name = table.read("name", service.name, check_name);
    if (name == nullptr) return;
    const auto [first, is_new] = service_names_.emplace(service.name, name->place);
    if (is_new) return;
    table.complain(*name, "name",
                   fmt::format("{} is the name of the service in line {} already; names are unique",
                               quoted(service.name), first->second.line));
  }

  void read_listen(TableReader& table, ServiceConfig& service) {
    constexpr std::string_view kKey = "listen";
    constexpr std::string_view kForm = "an array of strings, as in [\"127.0.0.1:5000\"]";
    const TomlNode* node = use_ == ConfigUse::kWorker
                               ? table.find(kKey)
                               : table.require(kKey, "listen = [\"127.0.0.1:5000\"]");
    if (node == nullptr) return;
    const auto* items = std::get_if<TomlArray>(&node->value);
    if (items == nullptr)
      table.complain_of_kind(*node, kKey, kForm);
    else if (items->empty())
      table.complain(*node, kKey, "empty; write at least one \"HOST:PORT\"");
    else if (items->size() > kMostListenItems)
      table.complain(*node, kKey, fmt::format("{} items (1–{})", items->size(), kMostListenItems));
    else
      for (const TomlNode& item : *items) read_listen_item(table, item, service);
  }

  void read_listen_item(TableReader& table, const TomlNode& node, ServiceConfig& service) {
    const std::string* text = table.string("listen", node, "a string, as in \"127.0.0.1:5000\"");
    if (text == nullptr) return;
    const auto parsed = parse_listen_item(*text);
    if (const auto* problem = std::get_if<Problem>(&parsed)) {
      table.complain(node, "listen", fmt::format("{}: {}", quoted(*text), problem->text));
      return;
    }
    const auto& ranges = std::get<std::vector<ListenRange>>(parsed);
    service.listen.insert(service.listen.end(), ranges.begin(), ranges.end());
    listen_items_.push_back({node.place, *text, config_.services.size(), ranges});
  }

  void read_protocol(TableReader& table, const TomlNode& node, ServiceConfig& service) {
    std::vector<std::string_view> names;
    names.reserve(kProtocols.size());
    for (const Protocol& protocol : kProtocols) names.emplace_back(protocol.name);
    const TomlNode* name_node = table.require("protocol", "protocol = \"stream\"");
    const std::string* name =
        name_node == nullptr ? nullptr : table.one_of("protocol", *name_node, names);
    for (const Protocol& protocol : kProtocols) {
      if (name != nullptr && *name == protocol.name) {
        service.protocol = protocol.read(table);
        service.idle_timeout = protocol.idle_timeout;
      }
      if (name != nullptr) continue;
      // Whose keys these are cannot be said, so the keys of every protocol pass.
      Complaints unheard;
      TableReader any(node, "service", unheard);
      protocol.read(any);
      table.also_knows(any);
    }
  }

  ConfigUse use_;
  Complaints complaints_;
  TableReader table_;
  Config config_;
  std::map<std::string, TomlPlace> service_names_;
  std::vector<ListenItem> listen_items_;
};

ConfigErrors unreadable(const std::string& file, std::string_view why) {
  return {{printable(fmt::format("{}: {}", file, why))}};
}

constexpr std::string_view kTooLarge = "larger than 1 MiB, which is no configuration";

/// At most one byte more than kLargestText. Regular files only: a pipe could block a daemon that
/// reads its configuration again.
std::variant<std::string, ConfigErrors> read_text(const std::string& file) {
  const UniqueFd fd =
      UniqueFd::adopt(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return unreadable(file, error_text(errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return unreadable(file, error_text(errno));
  if (!S_ISREG(status.st_mode)) return unreadable(file, "not a regular file");
  std::string text(kLargestText + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unreadable(file, error_text(errno));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

}  // namespace

const char* ServiceConfig::protocol_name() const noexcept {
  return kProtocols[protocol.index()].name;
}

std::string output_directory(const ServiceConfig& service) {
  return std::visit(
      [](const auto& protocol) {
        if constexpr (requires { protocol.output; })
          return protocol.output;
        else
          return std::string();
      },
      service.protocol);
}

std::variant<Config, ConfigErrors> parse_config(std::string_view text, const std::string& file,
                                                ConfigUse use) {
  if (text.size() > kLargestText) return unreadable(file, kTooLarge);
  const auto parsed = parse_toml(text);
  if (const auto* error = std::get_if<TomlSyntaxError>(&parsed)) {
    Complaints complaints;
    complaints.add(error->place, "not TOML", error->what);
    return complaints.in_file(file);
  }
  DocumentReader reader(std::get<TomlNode>(parsed), use);
  Config config = reader.read();
  if (!reader.complaints().empty()) return reader.complaints().in_file(file);
  return config;
}

std::variant<Config, ConfigErrors> read_config(const std::string& file, ConfigUse use) {
  const auto text = read_text(file);
  if (const auto* errors = std::get_if<ConfigErrors>(&text)) return *errors;
  return parse_config(std::get<std::string>(text), file, use);
}

}  // namespace serverd
