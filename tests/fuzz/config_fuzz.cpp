#include "common/config.h"

#include <cstdlib>
#include <iostream>
#include <string_view>

/// parse_config must survive any bytes in either use; what it takes must come back unchanged from
/// the text that is given to workers.
namespace {

using namespace serverd;

void fail(std::string_view what, const std::string& text) {
  std::cerr << what << ":\n" << text << '\n';
  std::abort();
}

void check_errors(const ConfigErrors& errors) {
  if (errors.lines.empty()) fail("refused without an error", "");
  for (const std::string& line : errors.lines)
    for (const char c : line)
      if ((c >= 0 && c < ' ') || c == 0x7F) fail("control character in an error", line);
}

void check_round_trip(const Config& config, const ServiceConfig& service) {
  const std::string text = worker_config_text(config, service);
  const auto parsed = parse_config(text, "worker", ConfigUse::kWorker);
  if (const auto* errors = std::get_if<ConfigErrors>(&parsed)) fail(errors->lines.front(), text);
  const Config& again = std::get<Config>(parsed);
  ServiceConfig expected = service;
  expected.listen.clear();
  if (again.services.size() != 1 || again.services.front() != expected ||
      again.daemon.log_level != config.daemon.log_level ||
      again.daemon.log_target != config.daemon.log_target)
    fail("settings changed on the way", text);
  if (worker_config_text(again, again.services.front()) != text) fail("text changed", text);
}

void check(std::string_view text, ConfigUse use) {
  const auto parsed = parse_config(text, "fuzz", use);
  if (const auto* errors = std::get_if<ConfigErrors>(&parsed)) return check_errors(*errors);
  const Config& config = std::get<Config>(parsed);
  for (const ServiceConfig& service : config.services) check_round_trip(config, service);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text, ConfigUse::kDaemon);
  check(text, ConfigUse::kWorker);
  return 0;
}
