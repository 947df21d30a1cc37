#include "supervisor/worker_program.h"

#include "supervisor/start_failure.h"

#include <fmt/format.h>

#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

namespace serverd {

namespace fs = std::filesystem;

UniqueFd open_worker_program() {
  const fs::path own = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path candidates[] = {own / "stream-worker",
                                 own.parent_path() / "libexec/stream-serverd/stream-worker",
                                 STREAM_SERVERD_LIBEXECDIR "/stream-serverd/stream-worker"};
  for (const fs::path& path : candidates) {
    UniqueFd fd = UniqueFd::adopt(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (fd && ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0) return fd;
  }
  throw StartFailure(
      kExitSystem,
      fmt::format("the worker program is missing: neither {} nor {} nor {} "
                  "can be executed",
                  candidates[0].string(), candidates[1].string(), candidates[2].string()));
}

}  // namespace serverd
