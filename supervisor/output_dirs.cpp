#include "supervisor/output_dirs.h"

#include "common/os/capabilities.h"
#include "common/os/error.h"
#include "supervisor/start_failure.h"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace serverd {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const ServiceConfig& service, const std::string& directory,
                       const std::string& why) {
  throw StartFailure(kExitCannotCreate, fmt::format("service {}: output directory {}: {}",
                                                    service.name, directory, why));
}

/// 0 or an errno value.
int access_now(const std::string& directory) {
  return ::faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

int access_as(const UserIds& user, const std::string& directory) {
  if (::setegid(user.gid) != 0 || ::seteuid(user.uid) != 0) return errno;
  const int error = access_now(directory);
  if (::seteuid(::getuid()) != 0 || ::setegid(::getgid()) != 0)
    throw_system_error(errno, "seteuid back");
  return error;
}

int access_without_capabilities(const std::string& directory) {
  const WithoutCapabilities as_in_the_sandbox;
  return access_now(directory);
}

void check_access(const ServiceConfig& service, const std::string& directory,
                  const std::optional<UserIds>& user, SandboxMode sandbox) {
  const int denied = user ? access_as(*user, directory) : access_now(directory);
  if (denied != 0) fail(service, directory, error_text(denied));
  if (user || sandbox == SandboxMode::kOff) return;
  if (const int in_sandbox = access_without_capabilities(directory))
    fail(service, directory,
         error_text(in_sandbox) +
             " for a worker, which gives up its capabilities; give it to the user that we run as, "
             "or set sandbox = \"off\"");
}

void make_directory(const ServiceConfig& service, const std::string& directory,
                    const std::optional<UserIds>& user, SandboxMode sandbox) {
  std::error_code error;
  const bool made = fs::create_directories(directory, error);
  if (error) fail(service, directory, error.message());
  if (made && user && ::chown(directory.c_str(), user->uid, user->gid) != 0)
    fail(service, directory, "chown: " + error_text(errno));
  if (!fs::is_directory(directory, error)) fail(service, directory, error_text(ENOTDIR));
  check_access(service, directory, user, sandbox);
}

}  // namespace

void prepare_output(const ServiceConfig& service, const std::optional<UserIds>& user,
                    SandboxMode sandbox) {
  const std::string directory = output_directory(service);
  if (!directory.empty()) make_directory(service, directory, user, sandbox);
}

}  // namespace serverd
