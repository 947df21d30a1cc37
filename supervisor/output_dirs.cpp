#include "supervisor/output_dirs.h"

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

/// What access(2) says as `user`; 0 or an errno value.
int access_as(const std::optional<UserIds>& user, const std::string& directory) {
  if (user && (::setegid(user->gid) != 0 || ::seteuid(user->uid) != 0)) return errno;
  const int error =
      ::faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
  if (user && (::seteuid(::getuid()) != 0 || ::setegid(::getgid()) != 0))
    throw_system_error(errno, "seteuid back");
  return error;
}

void make_directory(const ServiceConfig& service, const std::string& directory,
                    const std::optional<UserIds>& user) {
  std::error_code error;
  const bool made = fs::create_directories(directory, error);
  if (error) fail(service, directory, error.message());
  if (made && user && ::chown(directory.c_str(), user->uid, user->gid) != 0)
    fail(service, directory, "chown: " + error_text(errno));
  if (!fs::is_directory(directory, error)) fail(service, directory, error_text(ENOTDIR));
  if (const int denied = access_as(user, directory)) fail(service, directory, error_text(denied));
}

}  // namespace

std::string output_directory(const ServiceConfig& service) {
  return std::visit(
      [](const auto& protocol) {
        if constexpr (requires { protocol.output; })
          return protocol.output;
        else
          return std::string();
      },
      service.protocol);
}

void prepare_output(const ServiceConfig& service, const std::optional<UserIds>& user) {
  const std::string directory = output_directory(service);
  if (!directory.empty()) make_directory(service, directory, user);
}

}  // namespace serverd
