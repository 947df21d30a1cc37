#pragma once

#include "common/os/unique_fd.h"
#include "tests/e2e/program.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace serverd::test {

/// A directory of its own for one test, removed at the end.
class Workspace final {
 public:
  Workspace();
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const std::string& text) const;

 private:
  std::filesystem::path path_;
};

/// `count` consecutive ports that could be bound just now, on IPv4 and IPv6.
std::uint16_t free_ports(unsigned count);

/// stream-serverd with its own runtime directory, in a Workspace.
class Server final {
 public:
  /// Waits until every port is served or judged. `variables` as in Program::Options.
  Server(const Workspace& workspace, std::vector<std::string> arguments,
         std::vector<std::string> variables = {});

  Program& program() noexcept { return program_; }
  std::string err() const { return program_.err(); }
  bool wait_for_err(const std::string& text, int times = 1) {
    return program_.wait_for_err(text, times);
  }
  /// The worker of a port, by what ps(1) shows; 0 if there is none.
  pid_t worker(std::uint16_t port) const;
  /// Exit code after `signal`.
  int stop(int signal);

 private:
  Program program_;
};

/// The pids of a process's children, zombies included.
std::vector<pid_t> children_of(pid_t pid);
/// What descriptors of a process refer to, in order of their numbers.
std::vector<std::string> descriptors_of(pid_t pid);

/// A TCP client.
class Client final {
 public:
  /// Connects; throws std::system_error.
  Client(const std::string& host, std::uint16_t port);

  int fd() const noexcept { return fd_.get(); }
  /// Sends everything, waiting as long as it takes up to a minute; false on an error.
  bool send(const std::string& bytes, int flags = 0) const;
  /// Until the peer's kernel has acknowledged everything that was sent.
  bool wait_until_acknowledged() const;
  void half_close() const;
  /// Until the peer has closed; false at the deadline. A reset counts as closed.
  bool wait_for_close(std::chrono::milliseconds at_most = Seconds(20)) const;
  /// Closes with RST.
  void reset();
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
};

/// The one file in `directory` whose name begins with `prefix`; empty if there is none, throws if
/// there are several.
std::string only_file(const std::filesystem::path& directory, const std::string& prefix);
std::string file_content(const std::filesystem::path& path);
/// `size` bytes that differ with `seed`.
std::string pattern(std::size_t size, unsigned seed);

}  // namespace serverd::test
