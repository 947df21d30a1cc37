// The limit: what the bare loops of the same system calls can do, with nothing around them. Each
// listens on 127.0.0.1 and writes what it receives to one file.

#include "common/os/error.h"
#include "common/os/limits.h"
#include "common/os/socket.h"
#include "tests/bench/clients.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd::bench {
namespace {

struct Options {
  std::uint16_t port = 0;
  std::string file;
  std::size_t chunk = std::size_t{1} << 20;
  unsigned lifetime = 300;
};

UniqueFd open_listener(const Options& options, bool blocking) {
  UniqueFd listener = listen_on(*SocketAddress::from_host("127.0.0.1", options.port), 4096);
  if (blocking) check_call(::fcntl(listener.get(), F_SETFL, 0), "F_SETFL");
  return listener;
}

/// Without O_TRUNC: ext4 writes a truncated file out when it is closed (auto_da_alloc in ext4(5)),
/// which would be counted as this program's work.
UniqueFd create_file(const std::string& path) {
  return UniqueFd::adopt(
      check_call(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644), "open " + path));
}

UniqueFd accept_one(int listener) {
  return UniqueFd::adopt(
      check_call(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), "accept4"));
}

/// One connection: peek, pwrite, discard.
void bulk(const Options& options) {
  const UniqueFd listener = open_listener(options, true);
  const UniqueFd file = create_file(options.file);
  const UniqueFd fd = accept_one(listener.get());
  std::vector<char> buffer(options.chunk);
  off_t length = 0;
  for (;;) {
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), MSG_PEEK);
    if (check_call(static_cast<int>(n), "recv") == 0) return;
    const auto size = static_cast<std::size_t>(n);
    if (::pwrite(file.get(), buffer.data(), size, length) != n) throw_system_error(errno, "pwrite");
    length += n;
    if (::recv(fd.get(), nullptr, size, MSG_TRUNC) != n) throw_system_error(errno, "discard");
  }
}

/// What waits in `fd` goes to the file; false at its end.
bool copy_chunk(int fd, int file, std::vector<char>& buffer) {
  const ssize_t n = ::read(fd, buffer.data(), buffer.size());
  if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR);
  if (::write(file, buffer.data(), static_cast<std::size_t>(n)) != n)
    throw_system_error(errno, "write");
  return true;
}

/// Accept, read, write, close, until it is ended by a signal.
[[noreturn]] void short_connections(const Options& options) {
  const UniqueFd listener = open_listener(options, true);
  const UniqueFd file = create_file(options.file);
  std::vector<char> buffer(options.chunk);
  for (;;) {
    const UniqueFd fd = accept_one(listener.get());
    while (copy_chunk(fd.get(), file.get(), buffer)) continue;
  }
}

void accept_all(int listener, int poller) {
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    check_call(::epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  }
}

/// Many connections in one epoll instance, until it is ended by a signal.
[[noreturn]] void messages(const Options& options) {
  const UniqueFd listener = open_listener(options, false);
  const UniqueFd file = create_file(options.file);
  const UniqueFd poller =
      UniqueFd::adopt(check_call(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
  std::vector<char> buffer(options.chunk);
  std::array<epoll_event, 64> events{};
  events[0].events = EPOLLIN;
  events[0].data.fd = listener.get();
  check_call(::epoll_ctl(poller.get(), EPOLL_CTL_ADD, listener.get(), events.data()), "epoll_ctl");
  for (;;) {
    const int n = ::epoll_wait(poller.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < n; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == listener.get())
        accept_all(fd, poller.get());
      else if (!copy_chunk(fd, file.get(), buffer))
        ::close(fd);
    }
  }
}

int run(int argc, char** argv) {
  CLI::App app("The bare loops that the server is measured against.", "bench_bare");
  app.fallthrough();
  Options options;
  std::vector<std::pair<CLI::App*, void (*)(const Options&)>> commands = {
      {app.add_subcommand("bulk", "One connection: peek, pwrite, discard"), bulk},
      {app.add_subcommand("short", "Accept, read, write, close"), short_connections},
      {app.add_subcommand("messages", "epoll, read, write"), messages}};
  app.require_subcommand(1);
  app.add_option("--port", options.port)->required();
  app.add_option("--file", options.file)->required();
  app.add_option("--chunk", options.chunk, "Bytes of the buffer");
  app.add_option("--lifetime", options.lifetime, "Seconds after which SIGALRM ends it");
  CLI11_PARSE(app, argc, argv);
  bound_lifetime(options.lifetime);
  raise_descriptor_limit();
  for (const auto& [command, action] : commands)
    if (*command) action(options);
  return 0;
}

}  // namespace
}  // namespace serverd::bench

int main(int argc, char** argv) try {
  return serverd::bench::run(argc, argv);
} catch (const std::exception& error) {
  fmt::print(stderr, "bench_bare: {}\n", error.what());
  return 1;
}
