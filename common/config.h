#pragma once

#include "common/log.h"
#include "common/os/socket.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace serverd {

using Milliseconds = std::chrono::milliseconds;

/// Whether workers give up the rights that they do not need.
enum class SandboxMode {
  kOn,        ///< as far as the system can do it
  kRequired,  ///< a worker does not serve where it cannot
  kOff
};

/// [daemon]
struct DaemonConfig {
  std::string name = "main";  ///< instance: [A-Za-z0-9_.-]{1,64}, not beginning with a dot
  log::Level log_level = log::Level::kInfo;
  log::Target log_target = log::Target::kAuto;
  std::string user = "stream-serverd";  ///< workers' user when started as root; "" keeps root
  Milliseconds stop_timeout{5'000};     ///< 0 ms .. 1 h
  Milliseconds drain_timeout{30'000};   ///< 0 ms .. 24 h
  bool skip_bind_failures = false;      ///< on_bind_failure = "skip"
  SandboxMode sandbox = SandboxMode::kOn;
  bool survive_kill = true;  ///< connections survive SIGKILL of the supervisor

  bool operator==(const DaemonConfig&) const = default;
};

/// [restart]: when a worker that died is started again.
struct RestartConfig {
  unsigned rate = 20;                      ///< restarts a second after readiness, 1 .. 1000
  Milliseconds initial{100};               ///< first back-off, 1 ms .. 1 h
  Milliseconds maximum{30'000};            ///< longest back-off, initial .. 24 h
  unsigned quarantine_after = 5;           ///< deaths before readiness, 1 .. 1000
  Milliseconds quarantine_window{60'000};  ///< within this time, 1 s .. 24 h
  Milliseconds probe_interval{60'000};     ///< between probes in quarantine, 100 ms .. 24 h
  Milliseconds healthy_after{60'000};      ///< up for so long: earlier deaths are forgotten,
                                           ///< 100 ms .. 24 h
  Milliseconds start_timeout{10'000};      ///< a worker not ready by then is ended, 100 ms .. 1 h
  Milliseconds watchdog{30'000};           ///< a worker silent for so long has hung; 0: never, else
                                           ///< 100 ms .. 1 h
  unsigned blame_after = 3;                ///< deaths by its own fault until the connection in hand
                                           ///< is reset, 1 .. 1000

  bool operator==(const RestartConfig&) const = default;
};

/// One item of `listen`: consecutive ports on one address, or sockets inherited under a name.
struct ListenRange {
  std::string host;              ///< numeric address in its usual spelling, without brackets;
                                 ///< empty for inherited sockets
  std::uint16_t first_port = 0;  ///< 1 .. 65535
  std::uint16_t last_port = 0;   ///< first_port .. 65535
  std::string inherited_name;    ///< "systemd:NAME"; empty for a range

  bool operator==(const ListenRange&) const = default;
};

/// protocol = "stream"
struct StreamConfig {
  std::string output = "output";     ///< directory, created if missing; never empty
  bool file_per_connection = false;  ///< files = "per-port" | "per-connection"

  bool operator==(const StreamConfig&) const = default;
};

/// Whether clients of `accio` confirm the greeting before they send their file.
enum class AccioHandshake {
  kAuto,     ///< those that do are recognised
  kNone,     ///< none does: every byte is the file's
  kRequired  ///< a connection that does not is an error
};

/// protocol = "accio"
struct AccioConfig {
  std::string output = "output";  ///< directory, created if missing; never empty
  AccioHandshake handshake = AccioHandshake::kAuto;
  bool replace_existing = false;  ///< existing = "continue" | "replace"

  bool operator==(const AccioConfig&) const = default;
};

/// protocol = "monitor"
struct MonitorConfig {
  bool operator==(const MonitorConfig&) const = default;
};

/// protocol = "chat"
struct ChatConfig {
  std::string output = "output";     ///< directory for log and database, created if missing
  std::string database = "chat.db";  ///< file in `output`, or ":memory:"
  std::string server_id = "A5_43";   ///< 1 to 32 of A-Z a-z 0-9 _ -, not a number
  std::vector<std::string> peers;    ///< "HOST:PORT", numeric; at most 64
  unsigned max_peers = 8;            ///< links, 0 .. 64
  unsigned min_peers = 0;            ///< below it more are learned, 0 .. 64
  Milliseconds message_ttl{7LL * 24 * 3'600'000};  ///< 1 s .. 3650 d
  unsigned max_messages = 100'000;                 ///< 1 .. 100'000'000
  unsigned max_messages_per_recipient = 1'000;     ///< 1 .. 100'000'000
  double overload_threshold = 0.9;                 ///< share of a CPU, above 0 .. 1
  /// Whether clients may read the mailboxes of others; empty: only those of groups (server ids).
  std::optional<bool> open_mailboxes;

  bool operator==(const ChatConfig&) const = default;
};

/// protocol = "packets"
struct PacketsConfig {
  std::vector<std::string> cors_origins;  ///< "*" or "SCHEME://HOST[:PORT]"; at most 64
  unsigned max_captures = 128;            ///< at once, 1 .. 10'000
  unsigned ring_kib = 4'096;              ///< kernel memory of a capture, 512 .. 1'048'576
  unsigned queue_kib = 2'048;             ///< bytes that wait for a client, 256 .. 1'048'576
  unsigned snap_length = 262'144;         ///< most bytes of a frame, 64 .. 262'144
  Milliseconds request_timeout{10'000};  ///< from a request's first byte to its last, 100 ms .. 1 h

  bool operator==(const PacketsConfig&) const = default;
};

/// The protocol and its own keys; the alternative names the protocol.
using ProtocolConfig =
    std::variant<StreamConfig, AccioConfig, MonitorConfig, ChatConfig, PacketsConfig>;

/// One [[service]].
struct ServiceConfig {
  std::string name;                 ///< as DaemonConfig::name, unique
  std::vector<ListenRange> listen;  ///< "*:PORT" stands here as two: 0.0.0.0 and ::
  unsigned max_connections = 4096;  ///< per port, 1 .. 1'000'000
  Milliseconds idle_timeout{0};     ///< 0: none; .. 30 days; default of accio 10 s, chat 5 min,
                                    ///< packets 1 min
  ProtocolConfig protocol;

  /// "stream" …
  const char* protocol_name() const noexcept;
  bool operator==(const ServiceConfig&) const = default;
};

/// Where the files of `service` are; empty for one that has none.
std::string output_directory(const ServiceConfig& service);

struct Config {
  DaemonConfig daemon;
  RestartConfig restart;
  std::vector<ServiceConfig> services;

  bool operator==(const Config&) const = default;
};

/// Every complaint about a file in the order of its places, each "FILE:LINE:COLUMN: key: what is
/// wrong, and what would be right". Lines are safe for a terminal.
struct ConfigErrors {
  std::vector<std::string> lines;
};

/// Who reads the text.
enum class ConfigUse {
  kDaemon,  ///< at least one service, each with `listen`
  kWorker,  ///< one service, `listen` optional: a worker's sockets are handed to it
};

/// Reads TOML text of at most 1 MiB (stream-serverd.toml(5)). Reports every error at once, except
/// that a text that is not TOML has one; never throws for bad input. `file` is only for the
/// messages.
std::variant<Config, ConfigErrors> parse_config(std::string_view text, const std::string& file,
                                                ConfigUse use);

/// Reads a regular file; one that cannot be read, or is larger, is a ConfigErrors with "FILE: why".
std::variant<Config, ConfigErrors> read_config(const std::string& file, ConfigUse use);

/// The settings one worker needs, as TOML that parse_config(…, kWorker) gives back unchanged: the
/// keys of [daemon] that concern it and the one service without `listen`. Equal settings give equal
/// text and different ones different text. Strings must be UTF-8 without NUL, as parse_config's
/// are.
std::string worker_config_text(const Config& config, const ServiceConfig& service);

}  // namespace serverd
