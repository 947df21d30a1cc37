#include "supervisor/admin/check.h"

#include "common/config.h"
#include "common/exit_code.h"

#include <fmt/format.h>

namespace serverd {

int check_config(const std::string& file) {
  const auto parsed = read_config(file, ConfigUse::kDaemon);
  if (const auto* errors = std::get_if<ConfigErrors>(&parsed)) {
    for (const std::string& line : errors->lines) fmt::print(stderr, "{}\n", line);
    return kExitConfig;
  }
  const auto services = std::get<Config>(parsed).services.size();
  fmt::print("{}: good, {} service{}\n", file, services, services == 1 ? "" : "s");
  return kExitOk;
}

}  // namespace serverd
