#pragma once

#include "common/os/error.h"

#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace serverd::test {

struct MissingCall {
  long number;
  std::optional<unsigned> first_argument = {};  ///< only with this one
};

/// From now on, for this process and its children, these system calls fail with `error`: as on a
/// system that does not have them, or does not permit them.
inline void make_missing(std::initializer_list<MissingCall> calls, unsigned error) {
  const auto load = [](std::size_t offset) -> sock_filter {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset));
  };
  const auto unless = [](unsigned value, unsigned char skipped) -> sock_filter {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped);
  };
  std::vector<sock_filter> program;
  for (const MissingCall& call : calls) {
    program.push_back(load(offsetof(seccomp_data, nr)));
    program.push_back(unless(static_cast<unsigned>(call.number), call.first_argument ? 3 : 1));
    if (call.first_argument) {
      program.push_back(load(offsetof(seccomp_data, args)));
      program.push_back(unless(*call.first_argument, 1));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  check_call(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  check_call(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), "PR_SET_SECCOMP");
}

inline void make_landlock_missing() { make_missing({{SYS_landlock_create_ruleset}}, ENOSYS); }

inline void make_seccomp_missing() {
  make_missing({{SYS_seccomp}, {SYS_prctl, PR_SET_SECCOMP}}, EINVAL);
}

}  // namespace serverd::test
