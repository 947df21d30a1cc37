// The load generator of the benchmarks, the same for our server and for everything that it is
// compared with. Each command prints one line of JSON with the seconds that it took, from its first
// connection or byte until the server has closed the last connection.

#include "common/os/error.h"
#include "common/os/limits.h"
#include "tests/bench/clients.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
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

constexpr std::size_t kBlock = std::size_t{1} << 20;

struct Options {
  std::string ports;
  unsigned clients = 1;  ///< for each port
  std::uint64_t bytes = 0;
  std::uint64_t count = 0;
  std::size_t size = 100;
  unsigned lifetime = 300;
};

void print_result(double seconds, std::uint64_t done) {
  fmt::print("{{\"seconds\": {:.6f}, \"done\": {}}}\n", seconds, done);
}

std::string some_bytes(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint32_t state = 1;
  for (char& byte : bytes) byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

/// An epoll instance in which an entry's data is an index.
class Poller final {
 public:
  void watch(int fd, std::uint32_t events, std::size_t index, int operation = EPOLL_CTL_ADD) const {
    epoll_event event{};
    event.events = events;
    event.data.u64 = index;
    check_call(::epoll_ctl(fd_.get(), operation, fd, &event), "epoll_ctl");
  }

  /// Waits for events and calls `handle` with each one's index.
  template <typename Handle>
  void turn(Handle handle) {
    const int n = ::epoll_wait(fd_.get(), events_.data(), static_cast<int>(events_.size()), -1);
    if (n < 0 && errno != EINTR) throw_system_error(errno, "epoll_wait");
    for (int i = 0; i < n; ++i)
      handle(static_cast<std::size_t>(events_[static_cast<std::size_t>(i)].data.u64));
  }

 private:
  UniqueFd fd_ = UniqueFd::adopt(check_call(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
  std::array<epoll_event, 64> events_{};
};

/// Sends `bytes` on each connection, to all of them at the same time.
void bulk(const Options& options) {
  struct Stream {
    UniqueFd fd;
    std::uint64_t left;
  };
  const std::string block = some_bytes(kBlock);
  Poller poller;
  std::vector<Stream> streams;
  const auto begin = BenchClock::now();
  for (const std::uint16_t port : parse_ports(options.ports))
    for (unsigned i = 0; i < options.clients; ++i) {
      streams.push_back({connect_client(port), options.bytes});
      const int fd = streams.back().fd.get();
      check_call(::fcntl(fd, F_SETFL, O_NONBLOCK), "F_SETFL");
      poller.watch(fd, EPOLLOUT, streams.size() - 1);
    }
  std::size_t open = streams.size();
  const auto go_on = [&](std::size_t index) {
    Stream& stream = streams[index];
    const int fd = stream.fd.get();
    if (stream.left == 0) {
      if (!has_closed(fd)) return;
      stream.fd.reset();
      --open;
      return;
    }
    const ssize_t n =
        ::send(fd, block.data(), std::min<std::uint64_t>(stream.left, kBlock), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) throw_system_error(errno, "send");
    stream.left -= n > 0 ? static_cast<std::uint64_t>(n) : 0;
    if (stream.left > 0) return;
    end_stream(fd);
    poller.watch(fd, EPOLLIN, index, EPOLL_CTL_MOD);
  };
  while (open > 0) poller.turn(go_on);
  print_result(seconds_since(begin), options.bytes * streams.size());
}

/// Connect, one message, close, `count` times by `clients` clients.
void short_connections(const Options& options) {
  const std::uint16_t port = parse_ports(options.ports).front();
  const std::string message = some_bytes(options.size);
  Poller poller;
  std::vector<UniqueFd> clients(options.clients);
  std::uint64_t begun = 0;
  std::uint64_t done = 0;
  const auto begin_one = [&](std::size_t index) {
    if (begun == options.count) return;
    ++begun;
    clients[index] = connect_client(port, static_cast<unsigned>(index) + 1);
    const int fd = clients[index].get();
    send_all(fd, message.data(), message.size());
    end_stream(fd);
    poller.watch(fd, EPOLLIN, index);
  };
  const auto begin = BenchClock::now();
  for (std::size_t i = 0; i < clients.size(); ++i) begin_one(i);
  while (done < options.count)
    poller.turn([&](std::size_t index) {
      if (!has_closed(clients[index].get())) return;
      clients[index].reset();
      ++done;
      begin_one(index);
    });
  print_result(seconds_since(begin), done);
}

/// `count` messages in all, in turn on each of `clients` connections, which are there before.
void messages(const Options& options) {
  const std::string message = some_bytes(options.size);
  const auto clients = connect_clients(parse_ports(options.ports).front(), options.clients);
  const auto begin = BenchClock::now();
  for (std::uint64_t i = 0; i < options.count; ++i)
    send_all(clients[i % clients.size()].get(), message.data(), message.size());
  for (const UniqueFd& client : clients) end_stream(client.get());
  for (const UniqueFd& client : clients) await_close(client.get());
  print_result(seconds_since(begin), options.count);
}

/// Idle connections, until standard input ends.
void hold(const Options& options) {
  const auto begin = BenchClock::now();
  const auto clients = connect_clients(parse_ports(options.ports).front(), options.clients);
  print_result(seconds_since(begin), clients.size());
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) continue;
}

int run(int argc, char** argv) {
  CLI::App app("Load generator of the benchmarks.", "bench_load");
  app.fallthrough();
  Options options;
  std::vector<std::pair<CLI::App*, void (*)(const Options&)>> commands = {
      {app.add_subcommand("bulk", "Bytes on every connection at once"), bulk},
      {app.add_subcommand("short", "Connect, a message, close"), short_connections},
      {app.add_subcommand("messages", "Small messages on many connections"), messages},
      {app.add_subcommand("hold", "Idle connections until standard input ends"), hold}};
  app.require_subcommand(1);
  app.add_option("--ports", options.ports, "P,P,...; on 127.0.0.1")->required();
  app.add_option("--clients", options.clients, "Connections (bulk: to each port)");
  app.add_option("--bytes", options.bytes, "bulk: on each connection");
  app.add_option("--count", options.count, "short, messages: in all");
  app.add_option("--size", options.size, "short, messages: bytes of a message");
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
  fmt::print(stderr, "bench_load: {}\n", error.what());
  return 1;
}
