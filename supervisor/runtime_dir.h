#pragma once

#include "common/os/unique_fd.h"

#include <optional>
#include <stdexcept>
#include <string>

#include <sys/types.h>

namespace serverd {

/// Where instances keep their directories: `option` (--runtime-dir), else
/// STREAM_SERVERD_RUNTIME_DIR, else RUNTIME_DIRECTORY (systemd.exec(5)), else /run/stream-serverd
/// as root, else $XDG_RUNTIME_DIR/stream-serverd, else /tmp/stream-serverd-<uid>.
std::string runtime_root(const std::string& option);

/// Another live daemon has the instance's name.
class InstanceRunning final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The control socket's name in an instance's directory.
inline constexpr const char* kControlName = "control.sock";

/// One instance's directory below the runtime root, locked while this object lives. What a dead
/// instance of the same name left in it is removed.
class RuntimeDir final {
 public:
  /// Makes `root`/`name`. `worker_user`: who must be able to reach the notify sockets. Throws
  /// InstanceRunning, std::system_error.
  RuntimeDir(const std::string& root, const std::string& name, std::optional<uid_t> worker_user);
  /// Goes on with a directory whose lock was handed over.
  RuntimeDir(const std::string& root, const std::string& name, UniqueFd lock);
  ~RuntimeDir();
  RuntimeDir(const RuntimeDir&) = delete;
  RuntimeDir& operator=(const RuntimeDir&) = delete;

  const std::string& path() const noexcept { return path_; }
  int lock() const noexcept { return lock_.get(); }

 private:
  std::string path_;
  UniqueFd lock_;
};

}  // namespace serverd
