#pragma once

#include "common/os/unique_fd.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

/// What the load generator and the recovery probe share: clients on the loopback interface. All of
/// it throws std::system_error when something breaks, so that no figure comes out of half a run.
namespace serverd::bench {

using BenchClock = std::chrono::steady_clock;

inline double seconds_since(BenchClock::time_point begin) {
  return std::chrono::duration<double>(BenchClock::now() - begin).count();
}

/// No run lasts longer than this process: SIGALRM ends it after `seconds`. It dies with the harness
/// that started it.
void bound_lifetime(unsigned seconds);

/// A blocking connection to 127.0.0.1:`port`. `source` chooses the own address, 127.0.1.`source`;
/// 0: any. The ports of closed connections are not free again for a minute, and so many
/// connections on one address would leave none to others.
UniqueFd connect_client(std::uint16_t port, unsigned source = 0);
/// From several source addresses.
std::vector<UniqueFd> connect_clients(std::uint16_t port, unsigned count);

/// Everything; waits as long as it takes.
void send_all(int fd, const char* bytes, std::size_t size);
/// Half-closes.
void end_stream(int fd);
/// Takes what the server has answered; true once it has closed the connection.
bool has_closed(int fd);
/// Until the server has closed, which it does when it has stored everything.
void await_close(int fd);

/// "5000,5001,5002"
std::vector<std::uint16_t> parse_ports(const std::string& text);

}  // namespace serverd::bench
