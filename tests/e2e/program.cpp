#include "tests/e2e/program.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace serverd::test {
namespace {

std::string temporary_file() {
  char path[] = "/tmp/stream-serverd-test-XXXXXX";
  const int fd = ::mkstemp(path);
  if (fd < 0) throw std::runtime_error("mkstemp");
  ::close(fd);
  return path;
}

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void redirect(const std::string& path, int flags, int target) {
  const int fd = ::open(path.c_str(), flags, 0600);
  ::dup2(fd, target);
  ::close(fd);
}

/// By the contract of sd_listen_fds(3).
void hand_over(const std::vector<std::pair<std::string, int>>& descriptors) {
  constexpr int kOutOfTheWay = 700;
  std::vector<int> high;
  std::string names;
  for (const auto& [name, fd] : descriptors) {
    high.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, kOutOfTheWay));
    names += (high.size() == 1 ? "" : ":") + name;
  }
  for (std::size_t i = 0; i < high.size(); ++i) ::dup2(high[i], static_cast<int>(3 + i));
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", std::to_string(high.size()).c_str(), 1);
  ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
}

int occurrences(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

Program::Program(std::vector<std::string> arguments, const Options& options)
    : out_path_(temporary_file()), err_path_(temporary_file()) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  redirect(options.input.empty() ? "/dev/null" : options.input, O_RDONLY, 0);
  redirect(out_path_, O_WRONLY | O_APPEND, 1);
  redirect(err_path_, O_WRONLY | O_APPEND, 2);
  if (!options.descriptors.empty()) hand_over(options.descriptors);
  for (const std::string& variable : options.variables) {
    const auto equals = variable.find('=');
    ::setenv(variable.substr(0, equals).c_str(), variable.substr(equals + 1).c_str(), 1);
  }
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(126);
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

Program::~Program() {
  if (running()) {
    signal(SIGKILL);
    wait();
  }
  ::unlink(out_path_.c_str());
  ::unlink(err_path_.c_str());
}

void Program::signal(int signal) const {
  if (!status_) ::kill(pid_, signal);
}

bool Program::running() { return !wait(std::chrono::milliseconds(0)); }

std::optional<int> Program::wait(std::chrono::milliseconds at_most) {
  eventually(
      [&] {
        int status = 0;
        if (status_ || ::waitpid(pid_, &status, WNOHANG) != pid_) return status_.has_value();
        status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return true;
      },
      at_most);
  return status_;
}

std::string Program::out() const { return content(out_path_); }
std::string Program::err() const { return content(err_path_); }

bool Program::wait_for_err(const std::string& text, int times, std::chrono::milliseconds at_most) {
  bool found = false;
  eventually(
      [&] {
        const bool alive = running();
        found = occurrences(err(), text) >= times;
        return found || !alive;
      },
      at_most);
  return found;
}

std::string built(const std::string& name) { return std::string(BIN_DIR) + "/" + name; }

Finished run_program(std::vector<std::string> arguments, const Program::Options& options) {
  Program program(std::move(arguments), options);
  const auto code = program.wait();
  return {code.value_or(-1), program.out(), program.err()};
}

}  // namespace serverd::test
