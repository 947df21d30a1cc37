#include "supervisor/admin/admin.h"

#include "common/exit_code.h"
#include "common/ledger.h"
#include "supervisor/admin/admin_error.h"
#include "supervisor/admin/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <system_error>
#include <thread>

namespace serverd {
namespace {

constexpr double kUsualInterval_s = 2;
constexpr double kShortestInterval_s = 0.1;

int fail(int code, const char* what) {
  fmt::print(stderr, "stream-serverd: {}\n", what);
  return code;
}

int run_once(AdminCommand command, const AdminOptions& options) try {
  ControlClient client(options);
  return command(client, options);
} catch (const AdminError& error) {
  for (const std::string& reason : error.reasons()) fmt::print(stderr, "{}\n", reason);
  return fail(error.code(), error.what());
} catch (const ledger::LedgerError& error) {
  return fail(kExitConfig, error.what());
} catch (const std::system_error& error) {
  return fail(kExitSystem, error.what());
}

/// Until it fails; whoever watches ends it by a signal.
int run_again_and_again(AdminCommand command, const AdminOptions& options) {
  const double wanted = *options.watch_s > 0 ? *options.watch_s : kUsualInterval_s;
  const std::chrono::duration<double> interval(std::max(wanted, kShortestInterval_s));
  const bool terminal = style_of_stdout() == TableStyle::kTerminal;
  for (;;) {
    if (terminal) fmt::print("\x1b[H\x1b[J");
    const int code = run_once(command, options);
    if (std::fflush(stdout) != 0 || code > kExitPortDown) return code;
    std::this_thread::sleep_for(interval);
    if (!terminal && !options.json) fmt::print("\n");
  }
}

}  // namespace

int run_admin(AdminCommand command, const AdminOptions& options) {
  return options.watch_s ? run_again_and_again(command, options) : run_once(command, options);
}

}  // namespace serverd
