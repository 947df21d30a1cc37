// stream-serverd.toml(5) against the reader of the configuration.

#include "common/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>

using namespace serverd;

namespace {

void replace_all(std::string& text, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
}

/// "key = default" as the page has them, as TOML: by "daemon", "restart", "service" and protocol.
std::map<std::string, std::string> documented_defaults() {
  std::map<std::string, std::string> defaults;
  std::ifstream page(SOURCE_DIR "/man/stream-serverd.toml.5");
  std::string table;
  for (std::string line; std::getline(page, line);) {
    replace_all(line, "\\(dq", "\"");
    if (line.starts_with(".Sh ")) table.clear();
    if (line.starts_with(".Ss ")) {
      const bool of_protocol = line.find('"') != std::string::npos;
      const std::size_t from = line.find_first_of(of_protocol ? "\"" : "[");
      if (from == std::string::npos) continue;
      table = line.substr(from);
      std::erase_if(table, [](char c) { return c == '"' || c == '[' || c == ']'; });
    }
    const std::string item = ".It Li ";
    if (table.empty() || !line.starts_with(item) || line.find(" = ") == std::string::npos) continue;
    if (line.find(" = Ar ") == std::string::npos)
      defaults[table] += line.substr(item.size()) + "\n";
  }
  return defaults;
}

std::string service(const std::string& protocol, int port) {
  return "[[service]]\nname = \"" + protocol + "\"\nprotocol = \"" + protocol +
         "\"\nlisten = [\"127.0.0.1:" + std::to_string(port) + "\"]\n";
}

Config parse(const std::string& text) {
  auto parsed = parse_config(text, "manual", ConfigUse::kDaemon);
  if (const auto* errors = std::get_if<ConfigErrors>(&parsed))
    for (const std::string& line : errors->lines) ADD_FAILURE() << line << "\nin\n" << text;
  return std::get_if<Config>(&parsed) == nullptr ? Config() : std::get<Config>(parsed);
}

}  // namespace

TEST(ConfigManual, DefaultsAreThoseOfTheProgram) {
  auto defaults = documented_defaults();
  ASSERT_GE(defaults.size(), 6U) << "sections with keys";
  std::string written = "[daemon]\n" + defaults["daemon"] + "[restart]\n" + defaults["restart"];
  std::string silent;
  int port = 5000;
  for (const auto& [table, keys] : defaults) {
    if (table == "daemon" || table == "restart") continue;
    const std::string protocol = table == "service" ? "monitor" : table;
    written += service(protocol, ++port) + keys;
    silent += service(protocol, port);
  }
  const Config manual = parse(written);
  const Config program = parse(silent);
  EXPECT_EQ(manual.daemon, program.daemon);
  EXPECT_EQ(manual.restart, program.restart);
  ASSERT_EQ(manual.services.size(), program.services.size());
  for (std::size_t i = 0; i < manual.services.size(); ++i)
    EXPECT_EQ(manual.services[i], program.services[i]) << manual.services[i].name;
}
