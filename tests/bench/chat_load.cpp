// The load of the chat rows, the same for our server and for what it is compared with. Prints lines
// of JSON.

#include "common/os/error.h"
#include "common/os/limits.h"
#include "tests/bench/clients.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd::bench {
namespace {

struct Options {
  std::uint16_t port = 0;
  unsigned clients = 50;
  std::uint64_t count = 0;
  std::size_t size = 100;
  unsigned lifetime = 300;
};

/// The next line from `fd`, which waits.
std::string line_from(int fd) {
  std::string line;
  char byte = 0;
  while (::recv(fd, &byte, 1, 0) == 1) {
    if (byte == '\n') return line;
    line += byte;
  }
  throw std::runtime_error("the server ended a connection after '" + line + "'");
}

void ask(int fd, const std::string& request, std::string_view answer) {
  send_all(fd, request.data(), request.size());
  const std::string line = line_from(fd);
  if (!line.starts_with(answer)) throw std::runtime_error("the server says " + line);
}

/// A client that pipelines: it sends as much as the socket takes, and counts answers.
class Sender final {
 public:
  Sender(std::uint16_t port, unsigned number, std::uint64_t count, std::size_t size)
      : fd_(connect_client(port, 1 + number % 8)), left_(count), unanswered_(count) {
    ask(fd_.get(), fmt::format("HELO sender{}\n", number), "HELO,");
    // The recipient has been there, and messages wait for it.
    const UniqueFd recipient = connect_client(port, 1 + number % 8);
    ask(recipient.get(), fmt::format("HELO box{}\n", number), "HELO,");
    request_ = fmt::format("SENDMSG box{} ", number);
    request_ += std::string(size - std::min(size, request_.size() + 1), 'x') + "\n";
    for (std::size_t i = 0; i < kAtOnce; ++i) block_ += request_;
  }

  int fd() const noexcept { return fd_.get(); }
  bool done() const noexcept { return unanswered_ == 0; }
  short wants() const noexcept {
    return static_cast<short>(POLLIN | (left_ > 0 || at_ > 0 ? POLLOUT : 0));
  }
  void go_on(short events) {
    if ((events & POLLOUT) != 0) send_some();
    if ((events & ~POLLOUT) != 0) count_answers();
  }

 private:
  static constexpr std::size_t kAtOnce = 200;

  void send_some() {
    const std::size_t whole = request_.size() * std::min<std::uint64_t>(kAtOnce, left_);
    const ssize_t n = ::send(fd_.get(), block_.data() + at_, whole - at_, MSG_DONTWAIT);
    if (n < 0) return;
    at_ += static_cast<std::size_t>(n);
    left_ -= at_ / request_.size();
    at_ %= request_.size();
  }
  void count_answers() {
    static char buffer[65'536];
    const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0) throw std::runtime_error("the server ended a connection");
    for (ssize_t i = 0; i < n; ++i) {
      if (begins_ && buffer[i] != 'O') throw std::runtime_error("the server refuses a message");
      begins_ = buffer[i] == '\n';
      if (begins_) --unanswered_;
    }
  }

  UniqueFd fd_;
  std::string request_;
  std::string block_;
  std::uint64_t left_;
  std::uint64_t unanswered_;
  std::size_t at_ = 0;  ///< bytes of the request that is being sent
  bool begins_ = true;
};

/// `count` messages in all, until every one has its OK.
void send_messages(const Options& options) {
  std::vector<Sender> senders;
  for (unsigned i = 0; i < options.clients; ++i)
    senders.emplace_back(options.port, i, options.count / options.clients, options.size);
  const auto begin = BenchClock::now();
  std::vector<pollfd> set(senders.size());
  for (;;) {
    std::size_t open = 0;
    for (std::size_t i = 0; i < senders.size(); ++i) {
      set[i] = {senders[i].done() ? -1 : senders[i].fd(), senders[i].wants(), 0};
      open += senders[i].done() ? 0 : 1;
    }
    if (open == 0) break;
    check_call(::poll(set.data(), set.size(), -1), "poll");
    for (std::size_t i = 0; i < senders.size(); ++i)
      if (set[i].revents != 0) senders[i].go_on(set[i].revents);
  }
  fmt::print("{{\"seconds\": {:.6f}, \"done\": {}}}\n", seconds_since(begin),
             options.count / options.clients * options.clients);
}

/// Named clients that do nothing. Says so, waits for a line on standard input, sends `count`
/// messages from one to another, each when the one before is there, says how long they took, and
/// waits for the end of standard input.
void idle_clients(const Options& options) {
  const auto clients = connect_clients(options.port, options.clients);
  for (std::size_t i = 0; i < clients.size(); ++i)
    ask(clients[i].get(), fmt::format("HELO client{}\n", i), "HELO,");
  fmt::print("{{\"clients\": {}}}\n", clients.size());
  std::fflush(stdout);
  char byte = 0;
  if (::read(STDIN_FILENO, &byte, 1) != 1) return;
  std::vector<double> milliseconds;
  for (std::uint64_t i = 0; i < options.count; ++i) {
    const std::size_t from = i * 7 % clients.size();
    const std::size_t to = (i * 13 + clients.size() / 2) % clients.size();
    if (from == to) continue;
    const std::string request = fmt::format("SENDMSG client{} hello {}\n", to, i);
    const auto begin = BenchClock::now();
    send_all(clients[from].get(), request.data(), request.size());
    const std::string message = line_from(clients[to].get());
    milliseconds.push_back(seconds_since(begin) * 1000);
    if (message != fmt::format("SENDMSG,client{},client{},hello {}", to, from, i))
      throw std::runtime_error("the server says " + message);
    line_from(clients[from].get());
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  fmt::print("{{\"median_ms\": {:.4f}, \"most_ms\": {:.4f}}}\n",
             milliseconds[milliseconds.size() / 2], milliseconds.back());
  std::fflush(stdout);
  while (::read(STDIN_FILENO, &byte, 1) > 0) continue;
}

int run(int argc, char** argv) {
  CLI::App app("Load of the chat benchmarks.", "bench_chat_load");
  app.fallthrough();
  Options options;
  CLI::App* send = app.add_subcommand("send", "Clients that pipeline SENDMSG");
  CLI::App* idle = app.add_subcommand("idle", "Idle clients, and messages between two of them");
  app.require_subcommand(1);
  app.add_option("--port", options.port, "On 127.0.0.1")->required();
  app.add_option("--clients", options.clients, "Connections");
  app.add_option("--count", options.count, "Messages in all");
  app.add_option("--size", options.size, "send: bytes of a request");
  app.add_option("--lifetime", options.lifetime, "Seconds after which SIGALRM ends it");
  CLI11_PARSE(app, argc, argv);
  bound_lifetime(options.lifetime);
  raise_descriptor_limit();
  if (*send) send_messages(options);
  if (*idle) idle_clients(options);
  return 0;
}

}  // namespace
}  // namespace serverd::bench

int main(int argc, char** argv) try {
  return serverd::bench::run(argc, argv);
} catch (const std::exception& error) {
  fmt::print(stderr, "bench_chat_load: {}\n", error.what());
  return 1;
}
