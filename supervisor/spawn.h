#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace serverd {

/// Whom a worker runs as.
struct UserIds {
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;  ///< supplementary
};

/// A borrowed descriptor and the name under which the worker gets it.
struct HandedFd {
  std::string name;
  int fd;
};

struct SpawnRequest {
  int executable;                        ///< descriptor of the program
  std::string title;                     ///< argv[0], what ps(1) shows
  std::vector<HandedFd> descriptors;     ///< at most kMaxHandedDescriptors; become 3, 4, …
  std::vector<std::string> variables;    ///< "NAME=value", added to our environment
  std::optional<UserIds> user;           ///< empty: stays as we are
  std::vector<std::string> arguments{};  ///< behind argv[0]
  bool net_raw = false;  ///< where it is not root, its only capability is CAP_NET_RAW if we have it
};

inline constexpr int kMaxHandedDescriptors = 64;

/// Keeps the numbers from 3 on, which workers' descriptors are moved to, free of our own: a
/// descriptor that stands there (or Boost's own error pipe) would be overwritten in the child.
/// Standard descriptors that we were started without become /dev/null, for us and for workers.
/// Called once, before anything else opens descriptors, and after inherited ones were moved away.
/// Throws std::system_error.
void reserve_handoff_numbers();

/// Starts a program by the contract of common/handoff.h, by fork(2) and exec(2), in a process group
/// of its own, with an empty signal mask, /dev/null as standard input and no descriptor but
/// standard output, standard error and those given; where it is not root, without capabilities. It
/// gets SIGHUP when we die. Returns its pid, which the caller must reap. Throws std::system_error
/// if it cannot be started, exec included.
pid_t spawn(const SpawnRequest& request);

}  // namespace serverd
