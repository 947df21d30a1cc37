// How long a port goes unread when its worker is killed: from SIGKILL until the successor has taken
// the first byte, as the port's ledger shows it. In turns with the time that the worker program
// takes to start and end when it has nothing to do.

#include "common/ledger.h"
#include "common/os/error.h"
#include "common/os/limits.h"
#include "common/os/memfd.h"
#include "tests/bench/clients.h"
#include "tests/support/eventually.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace serverd::bench {
namespace {

namespace fs = std::filesystem;
using ledger::Ledger;
using test::eventually;

/// What waits while there is no worker.
constexpr std::size_t kWaiting = 64 * 1024;

struct Options {
  pid_t supervisor = 0;
  std::uint16_t port = 0;
  unsigned connections = 1;
  unsigned kills = 1;
  std::string worker_binary;
  unsigned lifetime = 300;
};

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

/// Through the supervisor's descriptors: the memory itself, which outlives the workers.
Ledger find_ledger(const Options& options) {
  const fs::path directory = fmt::format("/proc/{}/fd", options.supervisor);
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::error_code error;
    if (!fs::read_symlink(entry.path(), error).string().starts_with("/memfd:")) continue;
    const UniqueFd fd = UniqueFd::adopt(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    try {
      Ledger ledger(fd.get(), Mapping::Access::kRead);
      if (ledger.header().port == options.port) return ledger;
    } catch (const std::exception&) {
      continue;  // another memfd
    }
  }
  throw std::runtime_error("the supervisor has no ledger for the port");
}

/// By what ps(1) shows; 0 if there is none.
pid_t worker_of(const Options& options) {
  std::ifstream children(
      fmt::format("/proc/{}/task/{}/children", options.supervisor, options.supervisor));
  const std::string title = fmt::format(":{}", options.port);
  for (pid_t pid = 0; children >> pid;)
    if (content(fmt::format("/proc/{}/cmdline", pid)).find(title) != std::string::npos) return pid;
  return 0;
}

bool is_stopped(pid_t pid) {
  return content(fmt::format("/proc/{}/stat", pid)).find(") T ") != std::string::npos;
}

/// Not busily: the cores belong to those whom we watch.
void nap() {
  const timespec pause{0, 20'000};
  ::nanosleep(&pause, nullptr);
}

/// Milliseconds. The dead worker had nothing in hand: it was stopped before the bytes came, so that
/// the ledger's count moves only when its successor reads.
double time_recovery(const Options& options, const Ledger& ledger, int client) {
  pid_t worker = 0;
  require(eventually([&] { return (worker = worker_of(options)) != 0; }), "there is no worker");
  check_call(::kill(worker, SIGSTOP), "SIGSTOP");
  require(eventually([&] { return is_stopped(worker); }), "the worker does not stop");
  const std::string bytes(kWaiting, 'x');
  send_all(client, bytes.data(), bytes.size());

  const std::uint64_t before = ledger.counters().bytes;
  const std::uint64_t generation = ledger.header().generation;
  const auto begin = BenchClock::now();
  check_call(::kill(worker, SIGKILL), "SIGKILL");
  while (ledger.counters().bytes == before) {
    if (seconds_since(begin) > 20) throw std::runtime_error("nothing is read any more");
    nap();
  }
  const double milliseconds = seconds_since(begin) * 1e3;
  require(ledger.header().generation > generation, "the dead worker read on");
  require(eventually([&] { return ledger.counters().bytes == before + kWaiting; }),
          "what waited was not stored");
  return milliseconds;
}

/// Milliseconds of the worker program from its start to its end, doing nothing.
double time_start(const Options& options) {
  std::string program = options.worker_binary;
  std::string argument = "--version";
  char* argv[] = {program.data(), argument.data(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const auto begin = BenchClock::now();
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw_system_error(error, "start of " + program);
  int status = 0;
  check_call(::waitpid(pid, &status, 0), "waitpid");
  const double milliseconds = seconds_since(begin) * 1e3;
  require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the worker program does not work");
  return milliseconds;
}

void probe(const Options& options) {
  const Ledger ledger = find_ledger(options);
  const std::uint64_t accepted = ledger.counters().accepted;
  const auto clients = connect_clients(options.port, options.connections);
  require(eventually([&] { return ledger.counters().accepted == accepted + clients.size(); }),
          "not all connections were accepted");
  std::vector<double> recoveries;
  std::vector<double> starts;
  while (recoveries.size() < options.kills) {
    starts.push_back(time_start(options));
    recoveries.push_back(time_recovery(options, ledger, clients.back().get()));
  }
  for (const UniqueFd& client : clients) end_stream(client.get());
  for (const UniqueFd& client : clients) await_close(client.get());
  const auto lost = ledger.counters().closed[static_cast<std::size_t>(ledger::Cause::kLost)].load();
  require(lost == 0, "connections were lost");
  fmt::print("{{\"recovery_ms\": [{:.3f}], \"start_ms\": [{:.3f}]}}\n", fmt::join(recoveries, ", "),
             fmt::join(starts, ", "));
}

int run(int argc, char** argv) {
  CLI::App app("Kills a port's worker and times its recovery.", "bench_recovery_probe");
  Options options;
  app.add_option("--supervisor", options.supervisor, "Its pid")->required();
  app.add_option("--port", options.port)->required();
  app.add_option("--connections", options.connections, "All but one of them idle");
  app.add_option("--kills", options.kills);
  app.add_option("--worker-binary", options.worker_binary)->required();
  app.add_option("--lifetime", options.lifetime, "Seconds after which SIGALRM ends it");
  CLI11_PARSE(app, argc, argv);
  bound_lifetime(options.lifetime);
  raise_descriptor_limit();
  ::prctl(PR_SET_TIMERSLACK, 1);
  probe(options);
  return 0;
}

}  // namespace
}  // namespace serverd::bench

int main(int argc, char** argv) try {
  return serverd::bench::run(argc, argv);
} catch (const std::exception& error) {
  fmt::print(stderr, "bench_recovery_probe: {}\n", error.what());
  return 1;
}
