#pragma once

#include "common/config.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace serverd {

/// Thrown where `sandbox = "required"` and something of it is not to be had; the message is
/// complete.
struct SandboxUnavailable final : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a worker has given up of its rights, for good: new privileges, capabilities, system calls
/// that its protocol does not need (seccomp), files other than those in its output directory, and
/// TCP connections (Landlock). worker/sandbox/policy.cpp says what is left to it.
class Sandbox final {
 public:
  /// None.
  Sandbox() = default;

  /// Enters it: this process, which has one thread, and all that it will start. What the process
  /// needs from outside must be open. `who` begins the line about a refused system call. Throws
  /// SandboxUnavailable, and std::system_error.
  static Sandbox enter(const ServiceConfig& service, SandboxMode mode, const std::string& who);

  /// What this system does not have: "no Landlock (Function not implemented): files are …".
  const std::vector<std::string>& missing() const noexcept { return missing_; }

  /// The output directory is known by its inode, not by its path. True if another one stands under
  /// the path, to which only a new process can get access.
  bool output_replaced() const noexcept;

 private:
  using FileId = std::pair<dev_t, ino_t>;
  static std::optional<FileId> identify(const std::string& path) noexcept;
  void confine_files(const ServiceConfig& service);

  std::string output_;  ///< empty: nothing is written, or writing is not confined
  std::optional<FileId> output_id_;
  std::vector<std::string> missing_;
};

}  // namespace serverd
