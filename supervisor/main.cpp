#include "common/config.h"
#include "common/exit_code.h"
#include "common/log.h"
#include "supervisor/admin/admin.h"
#include "supervisor/admin/check.h"
#include "supervisor/admin/connections.h"
#include "supervisor/admin/status.h"
#include "supervisor/admin/steering.h"
#include "supervisor/instance.h"
#include "supervisor/quick_form.h"
#include "supervisor/start_failure.h"
#include "supervisor/upgrade.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace serverd {
namespace {

constexpr const char* kDefaultConfig = "/etc/stream-serverd/stream-serverd.toml";
constexpr const char* kUsage =
    "Usage: stream-serverd [run] [-c FILE]\n"
    "       stream-serverd check [-c FILE]\n"
    "       stream-serverd stream <ip> <base_port> <num_ports> [--output DIR]\n"
    "       stream-serverd accio <port> <file-dir>\n"
    "       stream-serverd monitor [<host>] <port>\n"
    "       stream-serverd chat <port>\n"
    "       stream-serverd packets [-port <port>]\n"
    "       stream-serverd status | connections [--name NAME] [--json] [--watch [SECONDS]]\n"
    "       stream-serverd kill ID | reload | stop | drain | restart PORT | resume PORT\n"
    "       stream-serverd --help\n";

struct Options {
  std::string config_file = kDefaultConfig;
  std::string runtime_dir;
  std::string ip;
  unsigned base_port = 0;
  unsigned port_count = 0;
  std::string output = "output";
  std::string port;                        ///< of accio, chat and packets
  std::string directory;                   ///< of accio
  std::vector<std::string> monitored;      ///< [host,] port
  const char* complaint_prefix = nullptr;  ///< what messages about a failed start begin with
  bool adopt_check = false;
  AdminOptions admin;
  AdminCommand admin_command = nullptr;
  ProgramStart start;
};

int usage_error(const std::string& what) {
  fmt::print(stderr, "stream-serverd: {}\n{}", what, kUsage);
  return kExitUsage;
}

/// Says it in the log, or in the form that a protocol prescribes.
void complain(const std::string& line, const Options& options) {
  if (options.complaint_prefix == nullptr)
    log::error("{}", line);
  else
    fmt::print(stderr, "{}{}\n", options.complaint_prefix, line);
}

int run_daemon(const Config& config, Instance::ConfigSource source, const Options& options) {
  log::configure(config.daemon.log_level, config.daemon.log_target);
  try {
    std::vector<NamedFd> inherited = take_inherited();
    if (options.adopt_check) {
      check_adoption(config, std::move(inherited));
      return kExitOk;
    }
    return Instance(config, std::move(source), runtime_root(options.runtime_dir),
                    std::move(inherited), options.start)
        .run();
  } catch (const StartFailure& failure) {
    for (const std::string& line : failure.lines()) complain(line, options);
    return failure.code();
  } catch (const InstanceRunning& error) {
    complain(error.what(), options);
    return kExitBind;
  } catch (const HandoffError& error) {
    complain(error.what(), options);
    return kExitConfig;
  } catch (const std::system_error& error) {
    complain(error.what(), options);
    const int code = error.code().value();
    return code == EACCES || code == EPERM ? kExitPermission : kExitSystem;
  } catch (const std::exception& error) {
    complain(error.what(), options);
    return kExitBug;
  }
}

int run_from_file(const Options& options) {
  const auto source = [file = options.config_file] {
    return read_config(file, ConfigUse::kDaemon);
  };
  const auto parsed = source();
  if (const auto* config = std::get_if<Config>(&parsed))
    return run_daemon(*config, source, options);
  for (const std::string& line : std::get<ConfigErrors>(parsed).lines) log::error("{}", line);
  return kExitConfig;
}

/// `make` gives the configuration, or throws std::invalid_argument.
template <typename Make>
int run_quick_form(const Options& options, Make make) {
  try {
    const Config config = make();
    const auto source = [&config] { return std::variant<Config, ConfigErrors>(config); };
    return run_daemon(config, source, options);
  } catch (const std::invalid_argument& error) {
    if (options.complaint_prefix == nullptr) return usage_error(error.what());
    complain(error.what(), options);
    return kExitUsage;
  }
}

int run_stream(const Options& options) {
  return run_quick_form(options, [&] {
    return stream_quick_form(options.ip, options.base_port, options.port_count, options.output);
  });
}

/// PROTOCOLS: accio prescribes how its errors begin.
int run_accio(Options options) {
  options.complaint_prefix = "ERROR: ";
  return run_quick_form(options, [&] { return accio_quick_form(options.port, options.directory); });
}

int run_monitor(const Options& options) {
  return run_quick_form(options, [&] {
    const bool named = options.monitored.size() > 1;
    return monitor_quick_form(named ? options.monitored.front() : "0.0.0.0",
                              options.monitored.back());
  });
}

int run_chat(const Options& options) {
  return run_quick_form(options, [&] { return chat_quick_form(options.port); });
}

int run_packets(const Options& options) {
  return run_quick_form(
      options, [&] { return packets_quick_form(options.port.empty() ? "8080" : options.port); });
}

void add_watch(CLI::App& command, AdminOptions& options) {
  command.add_flag("--json", options.json, "One JSON document instead of a table");
  command.add_option("--watch", options.watch_s, "Show it again every so many seconds (2)")
      ->expected(0, 1)
      ->check(CLI::Range(0.0, 86400.0));
}

/// The commands that speak to a running daemon.
void add_admin_commands(CLI::App& app, Options& options) {
  AdminOptions& admin = options.admin;
  const auto add = [&](const char* name, const char* text, AdminCommand run) {
    CLI::App* command = app.add_subcommand(name, text);
    command->add_option("--name", admin.name, "Instance; not needed if only one runs");
    command->callback([&options, run] { options.admin_command = run; });
    return command;
  };
  add_watch(*add("status", "Say how instance and ports are", show_status), admin);
  CLI::App* connections = add("connections", "List the connections of all ports", show_connections);
  add_watch(*connections, admin);
  connections->add_option("--port", admin.port, "Only of this port")->check(CLI::Range(1, 65535));
  connections->add_option("--service", admin.service, "Only of this service");
  connections->add_option("--peer", admin.peer, "Only from this ADDRESS or ADDRESS:PORT");
  add("kill", "Reset one connection", kill_connection)
      ->add_option("ID", admin.connection, "As `connections` shows it: 5000-17")
      ->required();
  add("reload", "Read the configuration file anew, as SIGHUP does", reload_config);
  add("stop", "Stop the instance, as SIGTERM does, and wait for its end", stop_instance);
  add("drain", "Drain the instance, as SIGQUIT does, and wait for its end", drain_instance);
  add("restart", "Replace a port's worker; its connections go on", restart_port)
      ->add_option("PORT", admin.port, "Port")
      ->required()
      ->check(CLI::Range(1, 65535));
  add("resume", "Try a port at once that is held back or in quarantine", resume_port)
      ->add_option("PORT", admin.port, "Port")
      ->required()
      ->check(CLI::Range(1, 65535));
}

/// CLI11 has no long options with one dash: `packets -port 8080` is a program's that this one takes
/// the place of.
std::vector<std::string> arguments_of(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool packets = std::find(arguments.begin(), arguments.end(), "packets") != arguments.end();
  for (std::string& argument : arguments)
    if (packets && (argument == "-port" || argument.starts_with("-port=")))
      argument.insert(0, 1, '-');
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  return arguments;
}

int run(int argc, char** argv) {
  CLI::App app("TCP capture host: one supervised worker process per port.", "stream-serverd");
  Options options;
  options.start = ProgramStart::remember(argc, argv);
  app.set_version_flag("--version", "stream-serverd " STREAM_SERVERD_VERSION);
  app.add_option("-c,--config", options.config_file, "Configuration file")->capture_default_str();
  app.add_option("--runtime-dir", options.runtime_dir, "Where instances keep their sockets");
  app.add_flag("--adopt-check", options.adopt_check,
               "Only say whether this program could take over what a running one hands over")
      ->group("");
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.footer("See stream-serverd(8) and stream-serverd.toml(5).");

  app.add_subcommand("run", "Run the daemon in the foreground (the default)");
  CLI::App* check = app.add_subcommand("check", "Validate the configuration file");
  CLI::App* stream =
      app.add_subcommand("stream", "Save TCP streams to files, without a config file");
  stream->add_option("ip", options.ip, "Address to listen on")->required();
  stream->add_option("base_port", options.base_port, "First port")->required();
  stream->add_option("num_ports", options.port_count, "Number of ports")->required();
  stream->add_option("--output", options.output, "Output directory")->capture_default_str();
  CLI::App* accio = app.add_subcommand("accio", "Save each connection as a file of its own");
  accio->add_option("port", options.port, "Port to listen on")->required();
  accio->add_option("file-dir", options.directory, "Where the files go")->required();
  CLI::App* monitor = app.add_subcommand("monitor", "Show what arrives");
  monitor->add_option("[host] port", options.monitored, "Address (0.0.0.0) and port to listen on")
      ->required()
      ->expected(1, 2);
  CLI::App* chat = app.add_subcommand("chat", "Serve the chat network's clients and servers");
  chat->add_option("port", options.port, "Port to listen on")->required();
  CLI::App* packets = app.add_subcommand("packets", "Show packets live over HTTP");
  packets->add_option("--port", options.port, "Port to listen on (8080)");
  add_admin_commands(app, options);
  try {
    app.parse(arguments_of(argc, argv));
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    if (*accio) fmt::print(stderr, "ERROR: ");
    return usage_error(error.what());
  }
  if (*check) return check_config(options.config_file);
  if (*stream) return run_stream(options);
  if (*accio) return run_accio(options);
  if (*monitor) return run_monitor(options);
  if (*chat) return run_chat(options);
  if (*packets) return run_packets(options);
  options.admin.runtime_dir = options.runtime_dir;
  if (options.admin_command != nullptr) return run_admin(options.admin_command, options.admin);
  return run_from_file(options);
}

}  // namespace
}  // namespace serverd

int main(int argc, char** argv) try {
  return serverd::run(argc, argv);
} catch (...) {  // not even the message could be written
  return serverd::kExitBug;
}
