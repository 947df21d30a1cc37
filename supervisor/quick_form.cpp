#include "supervisor/quick_form.h"

#include "common/os/socket.h"

#include <fmt/format.h>

#include <stdexcept>

namespace serverd {

Config stream_quick_form(const std::string& ip, unsigned base_port, unsigned port_count,
                         const std::string& output) {
  constexpr unsigned kLastPort = 65535;
  if (!SocketAddress::from_host(ip, 1))
    throw std::invalid_argument(
        fmt::format("'{}' is not an IPv4 or IPv6 address (host names are not looked up)", ip));
  if (base_port < 1 || base_port > kLastPort)
    throw std::invalid_argument(fmt::format("{} is not a port (1-{})", base_port, kLastPort));
  if (port_count < 1 || port_count > kLastPort - base_port + 1)
    throw std::invalid_argument(fmt::format("{} ports from {} on are not possible (1-{})",
                                            port_count, base_port, kLastPort - base_port + 1));
  if (output.empty()) throw std::invalid_argument("the output directory must have a name");

  Config config;
  config.daemon.name = fmt::format("stream-{}", base_port);
  config.daemon.user.clear();
  ServiceConfig service;
  service.name = "stream";
  service.listen = {{ip, static_cast<std::uint16_t>(base_port),
                     static_cast<std::uint16_t>(base_port + port_count - 1), ""}};
  service.protocol = StreamConfig{output, false};
  // What a config file could not say a worker could not be told.
  const auto parsed =
      parse_config(worker_config_text(config, service), "settings", ConfigUse::kWorker);
  if (const auto* errors = std::get_if<ConfigErrors>(&parsed))
    throw std::invalid_argument("--output: " + errors->lines.front());
  config.services.push_back(std::move(service));
  return config;
}

}  // namespace serverd
