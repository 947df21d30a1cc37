#include "client/pcap2stream/console.h"
#include "client/pcap2stream/extraction.h"
#include "client/pcap2stream/listing.h"
#include "client/pcap2stream/replay.h"
#include "common/exit_code.h"
#include "common/loop/loop.h"
#include "common/os/socket.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <system_error>

namespace {

using namespace serverd;
using namespace serverd::pcap2stream;

constexpr const char* kUsage =
    "Usage: pcap2stream [--packets] [--speed N] [--loop N] [--digest] <pcap_file> <server_ip> "
    "<base_port>\n"
    "       pcap2stream --list [--digest] [--packets] <pcap_file> [<server_ip> <base_port>]";

struct Arguments {
  ReplayOptions replay;
  bool list = false;
  bool packets = false;
  std::optional<std::string> server;
  std::optional<unsigned> base_port;
};

void declare(CLI::App& app, Arguments& arguments) {
  app.add_option("pcap_file", arguments.replay.path, "Capture file, - for standard input")
      ->required();
  app.add_option("server_ip", arguments.server, "Numeric IPv4 or IPv6 address");
  app.add_option("base_port", arguments.base_port, "Port of the first source's connection")
      ->check(CLI::Range(1, 65535));
  app.add_flag("--packets", arguments.packets, "Send packets as they come, without reassembly");
  app.add_option("--speed", arguments.replay.speed,
                 "1: the capture's timing, 2: twice as fast, 0: as fast as possible (default)");
  app.add_option("--loop", arguments.replay.passes, "Send the capture so many times")
      ->check(CLI::Range(1, 1'000'000));
  app.add_flag("--list", arguments.list, "Show sources, ports, bytes and flows; send nothing");
  app.add_flag("--digest", arguments.replay.digests, "Print SHA-256 and bytes per connection");
  app.set_version_flag("--version", "pcap2stream " STREAM_SERVERD_VERSION);
}

/// What is wrong with arguments that are fine one by one; empty: nothing.
std::string objection(const Arguments& arguments) {
  if (!std::isfinite(arguments.replay.speed) || arguments.replay.speed < 0)
    return fmt::format("--speed: {} is not a number from 0", arguments.replay.speed);
  if (arguments.server && !SocketAddress::from_host(*arguments.server, 1))
    return fmt::format("server_ip: {} is not an IPv4 or IPv6 address", *arguments.server);
  if (!arguments.list && !arguments.base_port) return "server_ip and base_port are required";
  if (arguments.replay.path == "-" && arguments.replay.passes > 1)
    return "--loop: standard input can be read only once";
  return "";
}

int usage_error(const std::string& what) {
  fmt::print(stderr, "pcap2stream: {}\n{}\n", what, kUsage);
  return kExitUsage;
}

ExitCode list(Console& console, const Arguments& arguments) {
  Listing listing(arguments.replay.digests);
  Extraction extraction(CaptureFile::open(arguments.replay.path), arguments.replay.mode, listing);
  while (extraction.read()) extraction.deliver();
  extraction.finish();
  listing.print(console, arguments.base_port);
  if (!extraction.ignored().empty()) console.remark(extraction.ignored());
  if (extraction.file().problem().empty()) return kExitOk;
  console.remark(extraction.file().problem());
  return kExitIo;
}

ExitCode replay(Console& console, const Arguments& arguments) {
  Loop loop;
  const auto port = static_cast<std::uint16_t>(*arguments.base_port);
  return Replay(loop, console, arguments.replay, {*arguments.server, port}).run();
}

ExitCode run(const Arguments& arguments) {
  Console console;
  return arguments.list ? list(console, arguments) : replay(console, arguments);
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  CLI::App app("Replays the TCP payloads of a capture file, one connection per source address",
               "pcap2stream");
  declare(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    return usage_error(error.what());
  }
  if (const std::string what = objection(arguments); !what.empty()) return usage_error(what);
  if (arguments.packets) arguments.replay.mode = Mode::kPackets;
  return run(arguments);
} catch (const serverd::pcap2stream::CaptureError& error) {
  fmt::print(stderr, "pcap2stream: {}\n", error.what());
  return serverd::kExitIo;
} catch (const std::system_error& error) {
  fmt::print(stderr, "pcap2stream: {}\n", error.what());
  return serverd::kExitSystem;
} catch (const std::exception& error) {
  fmt::print(stderr, "pcap2stream: {}\n", error.what());
  return serverd::kExitBug;
}
