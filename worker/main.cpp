#include "common/config.h"
#include "common/exit_code.h"
#include "common/handoff.h"
#include "common/ledger.h"
#include "common/log.h"
#include "common/os/limits.h"
#include "common/os/memfd.h"
#include "worker/instance.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>

#include <sys/prctl.h>
#include <unistd.h>

namespace serverd {
namespace {

constexpr std::size_t kMaxConfigSize = std::size_t{1} << 20;

struct Options {
  std::string config_file;  ///< empty: started by the supervisor
  std::string service;
};

/// Thrown for settings that are wrong; the message is complete.
struct ConfigProblem final : std::runtime_error {
  using std::runtime_error::runtime_error;
};

Config require_config(std::variant<Config, ConfigErrors> parsed) {
  if (auto* config = std::get_if<Config>(&parsed)) return std::move(*config);
  std::string text;
  for (const std::string& line : std::get<ConfigErrors>(parsed).lines)
    text += (text.empty() ? "" : "\n") + line;
  throw ConfigProblem(text);
}

ServiceConfig find_service(const Config& config, const Options& options) {
  for (const ServiceConfig& service : config.services)
    if (service.name == options.service) return service;
  throw ConfigProblem(
      fmt::format("{}: there is no service '{}'", options.config_file, options.service));
}

std::uint16_t port_of(const Handoff& handoff) {
  const ledger::Ledger ledger(handoff.ledger.get(), Mapping::Access::kRead);
  return static_cast<std::uint16_t>(ledger.header().port);
}

int serve(const Options& options) {
  const bool supervised = options.config_file.empty();
  Handoff handoff = supervised ? Handoff::from_supervisor(receive_descriptors())
                               : Handoff::from_activation(receive_descriptors());
  const Config config =
      require_config(supervised ? parse_config(read_all(handoff.config.get(), kMaxConfigSize),
                                               "config", ConfigUse::kWorker)
                                : read_config(options.config_file, ConfigUse::kDaemon));
  const ServiceConfig service =
      supervised ? config.services.front() : find_service(config, options);
  log::configure(config.daemon.log_level, config.daemon.log_target);
  if (!supervised) {
    const auto port = SocketAddress::local_of(handoff.listeners.front().get()).port();
    handoff.ledger = ledger::create(port, service.protocol_name(), service.max_connections);
  }
  log::set_subject({.service = service.name, .port = port_of(handoff)});
  raise_descriptor_limit();
  WorkerInstance instance(std::move(handoff), service, config.daemon.sandbox);
  const int code = instance.run();
  // Destructors would close connections that the keeper is to park.
  if (code == kExitRestart) ::_exit(code);
  return code;
}

int run(int argc, char** argv) {
  ::prctl(PR_SET_NAME, "stream-worker");
  CLI::App app("One port's worker of stream-serverd(8).", "stream-worker");
  Options options;
  app.set_version_flag("--version", "stream-worker " STREAM_SERVERD_VERSION);
  CLI::Option* config = app.add_option("--config", options.config_file,
                                       "Configuration file, when started without stream-serverd");
  CLI::Option* service = app.add_option("--service", options.service, "Service in that file");
  config->needs(service);
  service->needs(config);
  try {
    app.parse(argc, argv);
    return serve(options);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "stream-worker: {}\nUsage: stream-worker --config FILE --service NAME\n",
               error.what());
    return kExitUsage;
  } catch (const HandoffError& error) {
    log::error("stream-worker: {}", error.what());
    return kExitConfig;
  } catch (const ConfigProblem& error) {
    log::error("{}", error.what());
    return kExitConfig;
  } catch (const SandboxUnavailable& error) {
    log::error("{}; set it to \"on\" to serve without", error.what());
    return kExitConfig;
  } catch (const ledger::LedgerError& error) {
    log::error("stream-worker: descriptor 'ledger': {}; nothing was touched", error.what());
    return kExitConfig;
  } catch (const std::system_error& error) {
    log::error("stream-worker: {}", error.what());
    return kExitSystem;
  } catch (const std::exception& error) {
    log::error("stream-worker: {}", error.what());
    return kExitBug;
  }
}

}  // namespace
}  // namespace serverd

int main(int argc, char** argv) try {
  return serverd::run(argc, argv);
} catch (...) {  // not even the message could be written
  return serverd::kExitBug;
}
