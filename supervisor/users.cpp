#include "supervisor/users.h"

#include "supervisor/start_failure.h"

#include <fmt/format.h>

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

namespace serverd {

std::optional<UserIds> worker_user(const std::string& name) {
  if (name.empty() || ::geteuid() != 0) return std::nullopt;
  const passwd* entry = ::getpwnam(name.c_str());
  if (entry == nullptr)
    throw StartFailure(
        kExitConfig,
        fmt::format("daemon.user: there is no user '{}' on this system; create it, name "
                    "another, or set user = \"\" to run workers as root",
                    name));
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  if (::getgrouplist(name.c_str(), entry->pw_gid, groups.data(), &count) < 0) {
    groups.resize(static_cast<std::size_t>(count));
    ::getgrouplist(name.c_str(), entry->pw_gid, groups.data(), &count);
  }
  groups.resize(static_cast<std::size_t>(count));
  return UserIds{entry->pw_uid, entry->pw_gid, std::move(groups)};
}

}  // namespace serverd
