// Sends UDP datagrams at a steady rate, each with its number, for the rows about packets.
#include "common/os/error.h"
#include "common/os/unique_fd.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace {

using namespace serverd;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatch = 64;

UniqueFd connected(const std::string& host, std::uint16_t port) {
  UniqueFd fd =
      UniqueFd::adopt(check_call(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
    throw std::invalid_argument(host + " is not an IPv4 address");
  check_call(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
             "connect");
  return fd;
}

class Batches final {
 public:
  explicit Batches(std::size_t size) : payload_(size, 'x') {
    part_ = {payload_.data(), payload_.size()};
    for (mmsghdr& message : messages_) {
      message.msg_hdr.msg_iov = &part_;
      message.msg_hdr.msg_iovlen = 1;
    }
  }
  /// Returns how many of `count` went out; an ICMP error is the receiver's affair.
  std::uint64_t send(int fd, std::uint64_t count) {
    const auto batch = static_cast<unsigned>(std::min<std::uint64_t>(count, kBatch));
    const int sent = ::sendmmsg(fd, messages_.data(), batch, 0);
    return sent < 0 ? 0 : static_cast<std::uint64_t>(sent);
  }

 private:
  std::vector<char> payload_;
  iovec part_{};
  std::array<mmsghdr, kBatch> messages_{};
};

void send_steadily(const std::string& host, std::uint16_t port, double rate, std::uint64_t count,
                   std::size_t size) {
  const UniqueFd fd = connected(host, port);
  Batches batches(size);
  const auto begin = Clock::now();
  std::uint64_t sent = 0;
  while (sent < count) {
    const std::chrono::duration<double> elapsed = Clock::now() - begin;
    const auto due = std::min(count, static_cast<std::uint64_t>(elapsed.count() * rate) + 1);
    if (due > sent)
      sent += batches.send(fd.get(), due - sent);
    else
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  const std::chrono::duration<double> elapsed = Clock::now() - begin;
  std::printf("{\"sent\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(sent),
              elapsed.count());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app;
  std::string host;
  std::uint16_t port = 0;
  double rate = 0;
  std::uint64_t count = 0;
  std::size_t size = 64;
  app.add_option("--host", host)->required();
  app.add_option("--port", port)->required();
  app.add_option("--rate", rate, "a second")->required();
  app.add_option("--count", count)->required();
  app.add_option("--size", size, "bytes of payload");
  CLI11_PARSE(app, argc, argv);
  try {
    send_steadily(host, port, rate, count, size);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "packet_sender: %s\n", error.what());
    return 1;
  }
  return 0;
}
