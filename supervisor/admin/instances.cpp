#include "supervisor/admin/instances.h"

#include "common/exit_code.h"
#include "common/os/error.h"
#include "common/os/unix_socket.h"
#include "supervisor/admin/admin_error.h"
#include "supervisor/runtime_dir.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace serverd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMachineRoot = "/run/stream-serverd";
constexpr timeval kPatience{30, 0};

[[noreturn]] void not_permitted(const std::string& path) {
  throw AdminError(kExitPermission, path + ": " + error_text(EACCES));
}

/// Empty if nobody listens there any more. Throws for what else may be wrong.
std::optional<RunningInstance> connect_to_instance(const fs::path& directory) {
  const std::string path = (directory / kControlName).string();
  const sockaddr_un address = unix_address(path);
  UniqueFd fd = UniqueFd::adopt(
      check_call(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket for " + path));
  for (const int direction : {SO_RCVTIMEO, SO_SNDTIMEO})
    check_call(::setsockopt(fd.get(), SOL_SOCKET, direction, &kPatience, sizeof kPatience),
               "timeout of " + path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return RunningInstance{directory.filename().string(), std::move(fd)};
  const int error = errno;
  if (error == EACCES) not_permitted(path);
  if (error != ENOENT && error != ENOTDIR && error != ECONNREFUSED)
    throw_system_error(error, "connect " + path);
  return std::nullopt;
}

std::vector<RunningInstance> running_below(const std::string& root) {
  std::vector<RunningInstance> running;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error))
    if (auto instance = connect_to_instance(entry.path())) running.push_back(std::move(*instance));
  if (error == std::errc::permission_denied) not_permitted(root);
  std::sort(running.begin(), running.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return running;
}

std::string joined(const std::vector<std::string>& texts, const char* separator) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : separator) + text;
  return all;
}

RunningInstance find_named(const std::vector<std::string>& roots, const std::string& name) {
  for (const std::string& root : roots)
    if (auto instance = connect_to_instance(fs::path(root) / name)) return std::move(*instance);
  throw AdminError(kExitNotRunning,
                   fmt::format("instance '{}' is not running ({})", name, joined(roots, ", ")));
}

}  // namespace

std::vector<std::string> runtime_roots(const std::string& option) {
  std::vector<std::string> roots = {runtime_root(option)};
  const bool chosen = !option.empty() || std::getenv("STREAM_SERVERD_RUNTIME_DIR") != nullptr ||
                      std::getenv("RUNTIME_DIRECTORY") != nullptr;
  if (!chosen && roots.front() != kMachineRoot) roots.emplace_back(kMachineRoot);
  return roots;
}

RunningInstance find_instance(const std::vector<std::string>& roots, const std::string& name) {
  if (!name.empty()) return find_named(roots, name);
  std::vector<RunningInstance> running;
  for (const std::string& root : roots)
    for (RunningInstance& instance : running_below(root)) running.push_back(std::move(instance));
  if (running.empty())
    throw AdminError(kExitNotRunning,
                     fmt::format("no instance is running ({})", joined(roots, ", ")));
  if (running.size() == 1) return std::move(running.front());
  std::vector<std::string> names;
  names.reserve(running.size());
  for (const RunningInstance& instance : running) names.push_back(instance.name);
  throw AdminError(
      kExitUsage,
      fmt::format("several instances are running, choose one by --name: {}", joined(names, ", ")));
}

}  // namespace serverd
