#include "worker/sandbox/sandbox.h"

#include "common/os/capabilities.h"
#include "common/os/error.h"
#include "worker/sandbox/landlock.h"
#include "worker/sandbox/policy.h"
#include "worker/sandbox/refusal.h"
#include "worker/sandbox/syscall_filter.h"

#include <fmt/format.h>

#include <ctime>
#include <system_error>

#include <sys/prctl.h>
#include <sys/stat.h>

namespace serverd {
namespace {

landlock::Rules landlock_rules(const SandboxPolicy& policy, const std::string& output) {
  landlock::Rules rules;
  rules.connects = policy.connects;
  for (const char* path : common_reads()) rules.paths.push_back({path, landlock::kRead});
  for (const char* path : policy.reads) rules.paths.push_back({path, landlock::kRead});
  if (!output.empty()) rules.paths.push_back({output, policy.output});
#ifdef __SANITIZE_ADDRESS__
  rules.paths.push_back({"/", landlock::kRead | landlock::kList});  // for the text of a report
#endif
  return rules;
}

}  // namespace

Sandbox Sandbox::enter(const ServiceConfig& service, SandboxMode mode, const std::string& who) {
  Sandbox sandbox;
  if (mode == SandboxMode::kOff) return sandbox;
  ::tzset();  // reads /etc/localtime, once
  const SandboxPolicy& policy = sandbox_policy(service.protocol_name());
  check_call(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  try {
    drop_capabilities(policy.capability);
  } catch (const std::system_error& error) {
    sandbox.missing_.push_back(
        fmt::format("permission to drop capabilities ({}): they stay", error.what()));
  }
  sandbox.confine_files(service);
  try {
    report_refused_calls(who);
    allow_only(allowed_calls(policy));
  } catch (const std::system_error& error) {
    sandbox.missing_.push_back(
        fmt::format("seccomp ({}): system calls are not limited", error.what()));
  }
  if (mode != SandboxMode::kRequired || sandbox.missing_.empty()) return sandbox;
  throw SandboxUnavailable(fmt::format("{}: sandbox = \"required\", but this system has no {}", who,
                                       fmt::join(sandbox.missing_, "; and no ")));
}

void Sandbox::confine_files(const ServiceConfig& service) {
  const std::string output = output_directory(service);
  try {
    const int abi = landlock::kernel_abi();
    output_id_ = identify(output);
    landlock::restrict_to(landlock_rules(sandbox_policy(service.protocol_name()), output), abi);
    output_ = output;
  } catch (const std::system_error& error) {
    missing_.push_back(fmt::format("Landlock ({}): files are not confined", error.what()));
  }
}

std::optional<Sandbox::FileId> Sandbox::identify(const std::string& path) noexcept {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

bool Sandbox::output_replaced() const noexcept {
  if (output_.empty()) return false;
  const std::optional<FileId> now = identify(output_);
  return now && now != output_id_;
}

}  // namespace serverd
