#include "client/chat/chat.h"
#include "client/chat/line_editor.h"
#include "client/chat/pipe_console.h"
#include "common/exit_code.h"
#include "common/loop/loop.h"
#include "common/loop/signals.h"
#include "common/os/socket.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include <unistd.h>

namespace {

using namespace serverd;
using namespace serverd::chat;

constexpr const char* kUsage =
    "Usage: stream-chat [--keepalive SECONDS] [--wait SECONDS] <ip> <port>";

struct Arguments {
  std::string ip;
  std::uint16_t port = 0;
  unsigned keepalive = 120;
  unsigned wait = 2;
};

void declare(CLI::App& app, Arguments& arguments) {
  app.add_option("ip", arguments.ip, "Numeric IPv4 or IPv6 address")->required();
  app.add_option("port", arguments.port, "1 to 65535")->required()->check(CLI::Range(1, 65535));
  app.add_option("--keepalive", arguments.keepalive,
                 "Seconds between two KEEPALIVEs, 120 if not given; 0: none")
      ->check(CLI::Range(0, 86'400));
  app.add_option("--wait", arguments.wait,
                 "Seconds of silence at the end to wait for answers, 2 if not given")
      ->check(CLI::Range(1, 3600));
  app.set_version_flag("--version", "stream-chat " STREAM_SERVERD_VERSION);
}

int usage_error(const std::string& what) {
  fmt::print(stderr, "stream-chat: {}\n{}\n", what, kUsage);
  return kExitUsage;
}

std::unique_ptr<Console> open_console(Loop& loop) {
  if (::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1)
    return std::make_unique<LineEditor>(loop);
  return std::make_unique<PipeConsole>(loop, STDIN_FILENO);
}

ExitCode run(const ChatOptions& options) {
  Loop loop;
  Chat* chat = nullptr;
  Console* console = nullptr;
  const Signals signals(loop, {SIGINT, SIGTERM, SIGHUP, SIGWINCH}, [&](int signal) {
    if (signal != SIGWINCH)
      chat->quit();
    else
      console->resized();
  });
  const std::unique_ptr<Console> owned = open_console(loop);
  console = owned.get();
  std::optional<Chat> conversation;
  try {
    conversation.emplace(loop, *console, options);
  } catch (const std::system_error& error) {
    fmt::print(stderr, "stream-chat: {}\n", error.what());
    return kExitBind;
  }
  chat = &*conversation;
  return chat->run();
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  CLI::App app("A client of the chat service", "stream-chat");
  declare(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    return usage_error(error.what());
  }
  const auto server = SocketAddress::from_host(arguments.ip, arguments.port);
  if (!server) return usage_error(arguments.ip + " is not an IPv4 or IPv6 address");
  ChatOptions options;
  options.server = *server;
  options.keepalive = std::chrono::seconds(arguments.keepalive);
  options.patience = std::chrono::seconds(arguments.wait);
  return run(options);
} catch (const std::system_error& error) {
  fmt::print(stderr, "stream-chat: {}\n", error.what());
  return serverd::kExitSystem;
} catch (const std::exception& error) {
  fmt::print(stderr, "stream-chat: {}\n", error.what());
  return serverd::kExitBug;
}
