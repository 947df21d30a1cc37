#include "supervisor/reexec.h"

#include "common/handoff.h"
#include "common/os/unique_fd.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

namespace serverd {
namespace {

constexpr int kFirst = 3;  // SD_LISTEN_FDS_START

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

ProgramStart ProgramStart::remember(int argc, char** argv) {
  ProgramStart start;
  start.path = std::filesystem::read_symlink("/proc/self/exe").string();
  start.arguments.assign(argv + 1, argv + argc);
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!std::string_view(*variable).starts_with("LISTEN_"))
      start.variables.emplace_back(*variable);
  return start;
}

int reexec(const ProgramStart& start, int state) {
  std::vector<std::string> arguments = start.arguments;
  arguments.insert(arguments.begin(), start.path);
  std::vector<std::string> variables = start.variables;
  variables.push_back(fmt::format("LISTEN_PID={}", ::getpid()));
  variables.push_back("LISTEN_FDS=1");
  variables.push_back(fmt::format("LISTEN_FDNAMES={}", handoff_name::kSupervisorState));

  if (::dup2(state, kFirst) < 0) return errno;
  ::execve(start.path.c_str(), pointers(arguments).data(), pointers(variables).data());
  const int error = errno;
  const UniqueFd null = UniqueFd::adopt(::open("/dev/null", O_RDWR | O_CLOEXEC));
  ::dup3(null.get(), kFirst, O_CLOEXEC);
  return error;
}

}  // namespace serverd
