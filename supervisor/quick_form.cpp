#include "supervisor/quick_form.h"

#include "common/os/socket.h"
#include "common/os/unique_fd.h"

#include <fmt/format.h>

#include <charconv>
#include <stdexcept>

#include <sys/socket.h>

namespace serverd {
namespace {

constexpr unsigned kLastPort = 65535;

std::uint16_t require_port(const std::string& text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > kLastPort)
    throw std::invalid_argument(fmt::format("'{}' is not a port (1-{})", text, kLastPort));
  return static_cast<std::uint16_t>(port);
}

void require_address(const std::string& ip) {
  if (SocketAddress::from_host(ip, 1)) return;
  throw std::invalid_argument(
      fmt::format("'{}' is not an IPv4 or IPv6 address (host names are not looked up)", ip));
}

/// 0.0.0.0, and :: where the kernel has IPv6.
std::vector<ListenRange> all_interfaces(std::uint16_t port) {
  std::vector<ListenRange> ranges = {{"0.0.0.0", port, port, ""}};
  if (UniqueFd::adopt(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)))
    ranges.push_back({"::", port, port, ""});
  return ranges;
}

Config one_service(const std::string& protocol_name, unsigned port, ServiceConfig service) {
  Config config;
  config.daemon.name = fmt::format("{}-{}", protocol_name, port);
  config.daemon.user.clear();
  service.name = protocol_name;
  // What a config file could not say a worker could not be told.
  const auto parsed =
      parse_config(worker_config_text(config, service), "settings", ConfigUse::kWorker);
  if (const auto* errors = std::get_if<ConfigErrors>(&parsed))
    throw std::invalid_argument(errors->lines.front());
  config.services.push_back(std::move(service));
  return config;
}

}  // namespace

Config stream_quick_form(const std::string& ip, unsigned base_port, unsigned port_count,
                         const std::string& output) {
  require_address(ip);
  if (base_port < 1 || base_port > kLastPort)
    throw std::invalid_argument(fmt::format("{} is not a port (1-{})", base_port, kLastPort));
  if (port_count < 1 || port_count > kLastPort - base_port + 1)
    throw std::invalid_argument(fmt::format("{} ports from {} on are not possible (1-{})",
                                            port_count, base_port, kLastPort - base_port + 1));
  if (output.empty()) throw std::invalid_argument("the output directory must have a name");
  ServiceConfig service;
  service.listen = {{ip, static_cast<std::uint16_t>(base_port),
                     static_cast<std::uint16_t>(base_port + port_count - 1), ""}};
  service.protocol = StreamConfig{output, false};
  return one_service("stream", base_port, std::move(service));
}

Config accio_quick_form(const std::string& port, const std::string& directory) {
  const std::uint16_t number = require_port(port);
  if (directory.empty()) throw std::invalid_argument("the file directory must have a name");
  ServiceConfig service;
  service.listen = all_interfaces(number);
  service.idle_timeout = Milliseconds(10'000);
  service.protocol = AccioConfig{directory, AccioHandshake::kAuto, true};
  Config config = one_service("accio", number, std::move(service));
  config.daemon.drain_timeout = Milliseconds(0);
  return config;
}

Config chat_quick_form(const std::string& port) {
  const std::uint16_t number = require_port(port);
  ServiceConfig service;
  service.listen = all_interfaces(number);
  service.idle_timeout = Milliseconds(300'000);
  ChatConfig chat;
  chat.output = ".";
  chat.database = fmt::format("chat_{}.db", number);
  service.protocol = chat;
  return one_service("chat", number, std::move(service));
}

Config packets_quick_form(const std::string& port) {
  const std::uint16_t number = require_port(port);
  ServiceConfig service;
  service.listen = all_interfaces(number);
  service.idle_timeout = Milliseconds(60'000);
  PacketsConfig packets;
  packets.cors_origins = {"*"};
  service.protocol = packets;
  return one_service("packets", number, std::move(service));
}

Config monitor_quick_form(const std::string& host, const std::string& port) {
  require_address(host);
  const std::uint16_t number = require_port(port);
  ServiceConfig service;
  service.listen = {{host, number, number, ""}};
  service.protocol = MonitorConfig{};
  Config config = one_service("monitor", number, std::move(service));
  config.daemon.log_level = log::Level::kWarning;
  return config;
}

}  // namespace serverd
