#include "supervisor/runtime_dir.h"

#include "common/os/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockName = "lock";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string instance_path(const std::string& root, const std::string& name) {
  return fs::absolute(root).lexically_normal().string() + "/" + name;
}

void make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return;
  throw_system_error(errno, "mkdir " + path);
}

/// In /tmp anybody could have put a directory of that name there first.
void require_ours(const std::string& path) {
  struct stat status {};
  check_call(::lstat(path.c_str(), &status), "stat " + path);
  if (!S_ISDIR(status.st_mode)) throw_system_error(ENOTDIR, path);
  if (status.st_uid != ::geteuid())
    throw_system_error(EPERM, fmt::format("{} belongs to user {}, not to us", path, status.st_uid));
}

/// Whoever made the root, and under whatever umask: workers of another user must get through it.
void let_pass(const std::string& root) {
  struct stat status {};
  check_call(::stat(root.c_str(), &status), "stat " + root);
  constexpr mode_t kSearch = S_IXUSR | S_IXGRP | S_IXOTH;
  if ((status.st_mode & kSearch) == kSearch) return;
  check_call(::chmod(root.c_str(), (status.st_mode & 07777) | kSearch), "chmod " + root);
}

UniqueFd lock_instance(const std::string& directory, const std::string& name) {
  const std::string path = directory + "/" + kLockName;
  UniqueFd fd = UniqueFd::adopt(check_call(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644), "open " + path));
  struct stat status {};
  const bool locked = ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
  // Removed by the instance that ended between our open and our flock: not the file in the way.
  if (locked && ::fstat(fd.get(), &status) == 0 && status.st_nlink == 0)
    return lock_instance(directory, name);
  if (!locked) {
    char pid[16] = {};
    if (::pread(fd.get(), pid, sizeof pid - 1, 0) <= 0) pid[0] = '?';
    throw InstanceRunning(
        fmt::format("instance '{}' is already running (pid {}, {})", name, pid, directory));
  }
  const std::string pid = std::to_string(::getpid());
  check_call(::ftruncate(fd.get(), 0), "ftruncate " + path);
  check_call(static_cast<int>(::pwrite(fd.get(), pid.data(), pid.size(), 0)), "write " + path);
  return fd;
}

void remove_content(const std::string& directory, bool lock_too) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored))
    if (lock_too || entry.path().filename() != kLockName) fs::remove_all(entry.path(), ignored);
}

}  // namespace

std::string runtime_root(const std::string& option) {
  if (!option.empty()) return option;
  if (auto path = variable("STREAM_SERVERD_RUNTIME_DIR"); !path.empty()) return path;
  // systemd may name several directories; the first is ours.
  if (auto path = variable("RUNTIME_DIRECTORY"); !path.empty())
    return path.substr(0, path.find(':'));
  if (::geteuid() == 0) return "/run/stream-serverd";
  if (auto path = variable("XDG_RUNTIME_DIR"); !path.empty()) return path + "/stream-serverd";
  return fmt::format("/tmp/stream-serverd-{}", ::geteuid());
}

RuntimeDir::RuntimeDir(const std::string& root, const std::string& name, UniqueFd lock)
    : path_(instance_path(root, name)), lock_(std::move(lock)) {}

RuntimeDir::RuntimeDir(const std::string& root, const std::string& name,
                       std::optional<uid_t> worker_user)
    : path_(instance_path(root, name)) {
  // Our group passes through to the control socket, and workers of another user to their notify
  // sockets; what is in there has modes of its own.
  const bool all_pass = worker_user && *worker_user != ::geteuid();
  const mode_t mode = all_pass ? 0711 : 0710;
  std::error_code error;
  if (!fs::exists(root, error)) make_directory(root, all_pass ? 0755 : 0700);
  require_ours(root);
  if (all_pass) let_pass(root);
  make_directory(path_, mode);
  require_ours(path_);
  check_call(::chmod(path_.c_str(), mode), "chmod " + path_);
  lock_ = lock_instance(path_, name);
  remove_content(path_, false);
}

RuntimeDir::~RuntimeDir() {
  remove_content(path_, true);
  ::rmdir(path_.c_str());
}

}  // namespace serverd
