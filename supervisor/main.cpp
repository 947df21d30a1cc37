#include "common/config.h"
#include "common/exit_code.h"
#include "common/log.h"
#include "supervisor/admin/check.h"
#include "supervisor/instance.h"
#include "supervisor/quick_form.h"
#include "supervisor/start_failure.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>

namespace serverd {
namespace {

constexpr const char* kDefaultConfig = "/etc/stream-serverd/stream-serverd.toml";
constexpr const char* kUsage =
    "Usage: stream-serverd [run] [-c FILE]\n"
    "       stream-serverd check [-c FILE]\n"
    "       stream-serverd stream <ip> <base_port> <num_ports> [--output DIR]\n"
    "       stream-serverd --help\n";

struct Options {
  std::string config_file = kDefaultConfig;
  std::string runtime_dir;
  std::string ip;
  unsigned base_port = 0;
  unsigned port_count = 0;
  std::string output = "output";
  bool adopt_check = false;
  ProgramStart start;
};

int usage_error(const std::string& what) {
  fmt::print(stderr, "stream-serverd: {}\n{}", what, kUsage);
  return kExitUsage;
}

/// Logs one line for each line of `text`.
void log_lines(const std::string& text) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    log::error("{}", text.substr(begin, end - begin));
    begin = end + 1;
  }
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
    log_lines(failure.what());
    return failure.code();
  } catch (const InstanceRunning& error) {
    log::error("{}", error.what());
    return kExitBind;
  } catch (const HandoffError& error) {
    log::error("{}", error.what());
    return kExitConfig;
  } catch (const std::system_error& error) {
    log::error("{}", error.what());
    const int code = error.code().value();
    return code == EACCES || code == EPERM ? kExitPermission : kExitSystem;
  } catch (const std::exception& error) {
    log::error("{}", error.what());
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

int run_stream(const Options& options) {
  try {
    const Config config =
        stream_quick_form(options.ip, options.base_port, options.port_count, options.output);
    const auto source = [&config] { return std::variant<Config, ConfigErrors>(config); };
    return run_daemon(config, source, options);
  } catch (const std::invalid_argument& error) {
    return usage_error(error.what());
  }
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
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return usage_error(error.what());
  }
  if (*check) return check_config(options.config_file);
  if (*stream) return run_stream(options);
  return run_from_file(options);
}

}  // namespace
}  // namespace serverd

int main(int argc, char** argv) try {
  return serverd::run(argc, argv);
} catch (...) {  // not even the message could be written
  return serverd::kExitBug;
}
