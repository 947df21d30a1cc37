// What storing the chat rows' messages costs alone: the same rows in as many transactions, and
// nothing else. Prints a line of JSON.

#include "tests/bench/clients.h"
#include "worker/chat/chat_store.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

namespace serverd::bench {
namespace {

struct Options {
  std::string database;
  unsigned clients = 50;
  std::uint64_t count = 0;
  std::uint64_t commits = 1;
  std::size_t size = 100;
  unsigned lifetime = 300;
};

void insert(const Options& options) {
  chat::ChatStore store(options.database);
  std::vector<chat::MailboxId> boxes;
  for (unsigned i = 0; i < options.clients; ++i)
    boxes.push_back(store.add_mailbox(fmt::format("box{}", i), false, 1'000'000'000));
  if (const auto error = store.commit()) throw std::system_error(error, options.database);
  const std::string content(options.size - 15, 'x');
  const auto begin = BenchClock::now();
  std::uint64_t done = 0;
  for (std::uint64_t turn = 1; turn <= options.commits; ++turn) {
    const std::uint64_t until = options.count * turn / options.commits;
    // Within a turn each client's messages come one after another.
    const std::uint64_t run = (until - done) / boxes.size() + 1;
    for (std::uint64_t i = 0; done < until; ++i)
      store.add_message(boxes[i / run], {++done, "sender0", content, 1'000'000'000});
    store.count_messages(done);
    if (const auto error = store.commit()) throw std::system_error(error, options.database);
  }
  fmt::print("{{\"seconds\": {:.6f}, \"done\": {}}}\n", seconds_since(begin), done);
}

int run(int argc, char** argv) {
  CLI::App app("Stores messages and does nothing else.", "bench_chat_bare");
  Options options;
  app.add_option("--database", options.database, "Is made")->required();
  app.add_option("--clients", options.clients, "Mailboxes");
  app.add_option("--count", options.count, "Messages in all");
  app.add_option("--commits", options.commits, "Transactions");
  app.add_option("--size", options.size, "Bytes of a request");
  app.add_option("--lifetime", options.lifetime, "Seconds after which SIGALRM ends it");
  CLI11_PARSE(app, argc, argv);
  bound_lifetime(options.lifetime);
  insert(options);
  return 0;
}

}  // namespace
}  // namespace serverd::bench

int main(int argc, char** argv) try {
  return serverd::bench::run(argc, argv);
} catch (const std::exception& error) {
  fmt::print(stderr, "bench_chat_bare: {}\n", error.what());
  return 1;
}
