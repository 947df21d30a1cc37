#include "common/config.h"
#include "common/config_values.h"

namespace serverd {
namespace {

/// A TOML basic string.
std::string toml_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      result += fmt::format("\\{}", c);
    else if ((c >= 0 && c < 0x20) || c == 0x7F)
      result += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    else
      result += c;
  }
  return result + '"';
}

void put(std::string& text, std::string_view key, std::string_view value) {
  text += fmt::format("{} = {}\n", key, toml_string(value));
}

void put(std::string& text, std::string_view key, unsigned value) {
  text += fmt::format("{} = {}\n", key, value);
}

void put(std::string& text, std::string_view key, Milliseconds value) {
  put(text, key, format_duration(value));
}

void put(std::string& text, std::string_view key, const std::vector<std::string>& values) {
  std::string list;
  for (const std::string& value : values) list += (list.empty() ? "" : ", ") + toml_string(value);
  text += fmt::format("{} = [{}]\n", key, list);
}

/// A value that has no word of its own is the first: log::Target::kPrefixed is what "auto" became.
template <typename Value, std::size_t kCount>
void put(std::string& text, std::string_view key, Value value, const Words<Value, kCount>& words) {
  std::string_view word = words.front().first;
  for (const auto& [name, meaning] : words)
    if (meaning == value) word = name;
  put(text, key, word);
}

void put_protocol(std::string& text, const StreamConfig& stream) {
  put(text, "output", stream.output);
  put(text, "files", stream.file_per_connection, kStreamFiles);
}

void put_protocol(std::string& text, const AccioConfig& accio) {
  put(text, "output", accio.output);
  put(text, "handshake", accio.handshake, kAccioHandshakes);
  put(text, "existing", accio.replace_existing, kAccioExisting);
}

void put_protocol(std::string&, const MonitorConfig&) {}

void put_protocol(std::string& text, const ChatConfig& chat) {
  put(text, "output", chat.output);
  put(text, "database", chat.database);
  put(text, "server_id", chat.server_id);
  put(text, "peers", chat.peers);
  put(text, "max_peers", chat.max_peers);
  put(text, "min_peers", chat.min_peers);
  put(text, "message_ttl", chat.message_ttl);
  put(text, "max_messages", chat.max_messages);
  put(text, "max_messages_per_recipient", chat.max_messages_per_recipient);
  text += fmt::format("overload_threshold = {}\n", chat.overload_threshold);
  if (chat.open_mailboxes) text += fmt::format("open_mailboxes = {}\n", *chat.open_mailboxes);
}

void put_protocol(std::string& text, const PacketsConfig& packets) {
  put(text, "cors_origins", packets.cors_origins);
  put(text, "max_captures", packets.max_captures);
  put(text, "ring_kib", packets.ring_kib);
  put(text, "queue_kib", packets.queue_kib);
  put(text, "snap_length", packets.snap_length);
  put(text, "request_timeout", packets.request_timeout);
}

}  // namespace

std::string worker_config_text(const Config& config, const ServiceConfig& service) {
  std::string text = "[daemon]\n";
  put(text, "log_level", config.daemon.log_level, kLogLevels);
  put(text, "log_target", config.daemon.log_target, kLogTargets);
  put(text, "sandbox", config.daemon.sandbox, kSandboxModes);
  text += "[[service]]\n";
  put(text, "name", service.name);
  put(text, "protocol", service.protocol_name());
  put(text, "max_connections", service.max_connections);
  put(text, "idle_timeout", service.idle_timeout);
  std::visit([&](const auto& protocol) { put_protocol(text, protocol); }, service.protocol);
  return text;
}

}  // namespace serverd
