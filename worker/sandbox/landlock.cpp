#include "worker/sandbox/landlock.h"

#include "common/os/error.h"
#include "common/os/unique_fd.h"

#include <cerrno>

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace serverd::landlock {
namespace {

// Newer than the headers of the oldest system that we build on; landlock(7).
constexpr std::uint64_t kTruncate = 1ULL << 14;          // ABI 3
constexpr std::uint64_t kIoctlDevice = 1ULL << 15;       // ABI 5
constexpr std::uint64_t kBindTcp = 1ULL << 0;            // ABI 4
constexpr std::uint64_t kConnectTcp = 1ULL << 1;         // ABI 4
constexpr std::uint64_t kScopeAbstractUnix = 1ULL << 0;  // ABI 6
constexpr std::uint64_t kScopeSignal = 1ULL << 1;        // ABI 6

/// struct landlock_ruleset_attr; a kernel that knows less takes the beginning of it.
struct RulesetAttributes {
  std::uint64_t handled_access_fs = 0;
  std::uint64_t handled_access_net = 0;
  std::uint64_t scoped = 0;
};

std::size_t size_for(int abi) { return abi >= 6 ? 24 : abi >= 4 ? 16 : 8; }

/// Every right to files that the kernel can refuse.
std::uint64_t all_file_rights(int abi) {
  std::uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
  if (abi >= 2) rights |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) rights |= kTruncate;
  if (abi >= 5) rights |= kIoctlDevice;
  return rights;
}

std::uint64_t file_rights(unsigned access) {
  std::uint64_t rights = 0;
  if (access & kRead) rights |= LANDLOCK_ACCESS_FS_READ_FILE;
  if (access & kList) rights |= LANDLOCK_ACCESS_FS_READ_DIR;
  if (access & kWrite)
    rights |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | kTruncate;
  if (access & kRemove) rights |= LANDLOCK_ACCESS_FS_REMOVE_FILE;
  return rights;
}

/// A file, unlike a directory, takes only the rights that concern files.
constexpr std::uint64_t kOfFiles =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;

UniqueFd new_ruleset(const Rules& rules, int abi) {
  RulesetAttributes attributes;
  attributes.handled_access_fs = all_file_rights(abi);
  attributes.handled_access_net = kBindTcp | (rules.connects ? 0 : kConnectTcp);
  attributes.scoped = kScopeAbstractUnix | kScopeSignal;
  const long fd = ::syscall(SYS_landlock_create_ruleset, &attributes, size_for(abi), 0);
  return UniqueFd::adopt(check_call(static_cast<int>(fd), "landlock_create_ruleset"));
}

void add(int ruleset, const PathRule& rule, int abi) {
  const UniqueFd fd = UniqueFd::adopt(::open(rule.path.c_str(), O_PATH | O_CLOEXEC));
  if (!fd && errno == ENOENT) return;
  check_call(fd.get(), rule.path);
  landlock_path_beneath_attr attributes{};
  attributes.allowed_access = file_rights(rule.access) & all_file_rights(abi);
  attributes.parent_fd = fd.get();
  struct stat status {};
  check_call(::fstat(fd.get(), &status), "fstat of " + rule.path);
  if (!S_ISDIR(status.st_mode)) attributes.allowed_access &= kOfFiles;
  const long added =
      ::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attributes, 0);
  check_call(static_cast<int>(added), "landlock_add_rule for " + rule.path);
}

}  // namespace

int kernel_abi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0},
                             LANDLOCK_CREATE_RULESET_VERSION);
  return check_call(static_cast<int>(abi), "landlock_create_ruleset");
}

void restrict_to(const Rules& rules, int abi) {
  const UniqueFd ruleset = new_ruleset(rules, abi);
  for (const PathRule& rule : rules.paths) add(ruleset.get(), rule, abi);
  check_call(static_cast<int>(::syscall(SYS_landlock_restrict_self, ruleset.get(), 0)),
             "landlock_restrict_self");
}

}  // namespace serverd::landlock
