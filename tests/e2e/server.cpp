#include "tests/e2e/server.h"

#include "common/os/error.h"
#include "common/os/socket.h"

#include <csignal>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <system_error>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd::test {

namespace fs = std::filesystem;

Workspace::Workspace() {
  char path[] = "/tmp/stream-serverd-test-XXXXXX";
  if (::mkdtemp(path) == nullptr) throw_system_error(errno, "mkdtemp");
  path_ = path;
  fs::permissions(path_, fs::perms(0755));
}

Workspace::~Workspace() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void Workspace::write(const std::string& name, const std::string& text) const {
  std::ofstream(path_ / name) << text;
}

namespace {

bool can_bind(const char* host, unsigned port) {
  try {
    listen_on(*SocketAddress::from_host(host, static_cast<std::uint16_t>(port)), 1);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

bool all_free(unsigned base, unsigned count) {
  for (unsigned port = base; port < base + count; ++port)
    if (!can_bind("0.0.0.0", port) || !can_bind("::", port)) return false;
  return true;
}

}  // namespace

std::uint16_t free_ports(unsigned count) {
  // Below the range that the kernel gives to connecting sockets.
  static std::mt19937 random(std::random_device{}());
  std::uniform_int_distribution<unsigned> bases(10'000, 32'000 - count);
  for (int attempt = 0; attempt < 1000; ++attempt)
    if (const unsigned base = bases(random); all_free(base, count))
      return static_cast<std::uint16_t>(base);
  throw std::runtime_error("no free ports");
}

Server::Server(const Workspace& workspace, std::vector<std::string> arguments,
               std::vector<std::string> variables)
    : program_(
          [&] {
            arguments.insert(arguments.begin(),
                             {built("stream-serverd"), "--runtime-dir", workspace / "run"});
            return arguments;
          }(),
          {workspace.path().string(), std::move(variables), ""}) {
  if (!program_.wait_for_err("ports up"))
    throw std::runtime_error("the server did not start:\n" + program_.err());
}

pid_t Server::worker(std::uint16_t port) const {
  for (const pid_t pid : children_of(program_.pid())) {
    const std::string title = file_content("/proc/" + std::to_string(pid) + "/cmdline");
    if (title.find(":" + std::to_string(port)) != std::string::npos) return pid;
  }
  return 0;
}

int Server::stop(int signal) {
  program_.signal(signal);
  return program_.wait().value_or(-1);
}

std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  return {std::istream_iterator<pid_t>(file), {}};
}

std::vector<std::string> descriptors_of(pid_t pid) {
  std::vector<std::string> targets;
  const fs::path directory = "/proc/" + std::to_string(pid) + "/fd";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error))
    targets.push_back(fs::read_symlink(entry.path(), error).string());
  return targets;
}

Client::Client(const std::string& host, std::uint16_t port)
    : fd_(connect_to(*SocketAddress::from_host(host, port))) {
  pollfd ready{fd_.get(), POLLOUT, 0};
  ::poll(&ready, 1, 20'000);
  if (const int error = socket_option(fd_.get(), SOL_SOCKET, SO_ERROR).value_or(EBADF))
    throw_system_error(error, "connect " + host + ":" + std::to_string(port));
}

bool Client::send(const std::string& bytes, int flags) const {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n =
        ::send(fd_.get(), bytes.data() + done, bytes.size() - done, flags | MSG_NOSIGNAL);
    if (n >= 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    pollfd ready{fd_.get(), POLLOUT, 0};
    if (errno != EAGAIN || ::poll(&ready, 1, 60'000) != 1) return false;
  }
  return true;
}

bool Client::wait_until_acknowledged() const {
  return eventually([&] {
    int unacknowledged = 0;
    return ::ioctl(fd_.get(), SIOCOUTQ, &unacknowledged) == 0 && unacknowledged == 0;
  });
}

void Client::half_close() const { ::shutdown(fd_.get(), SHUT_WR); }

bool Client::wait_for_close(std::chrono::milliseconds at_most) const {
  return eventually(
      [&] {
        char byte = 0;
        const ssize_t n = ::recv(fd_.get(), &byte, 1, MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno != EAGAIN);
      },
      at_most);
}

void Client::reset() {
  const linger at_once{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  fd_.reset();
}

std::string only_file(const fs::path& directory, const std::string& prefix) {
  std::string found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    if (!found.empty())
      throw std::runtime_error("several files " + prefix + "* in " + directory.string());
    found = entry.path().string();
  }
  return found;
}

std::string file_content(const fs::path& path) try {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
} catch (const std::ios_base::failure&) {
  return "";  // in /proc, of a process that has just ended
}

std::string pattern(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

}  // namespace serverd::test
