// Connections that send without a pause, whatever happens to the server, until SIGTERM or SIGINT;
// then they finish, and every byte is compared with the files that a stream service with
// files = "per-connection" has written.
//
// Usage: steady_load PORT CONNECTIONS BYTES_PER_SECOND DIRECTORY
// Exit status: 0 if every connection lived, and every file is what was sent; else 1.
#include "tests/e2e/server.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <poll.h>
#include <sys/socket.h>

namespace {

using namespace serverd::test;
namespace fs = std::filesystem;

volatile std::sig_atomic_t stopping = 0;

constexpr std::size_t kMostAtOnce = 65'536;
constexpr std::size_t kHeader = 16;

/// The stream of a connection: its number, then bytes that differ with number and place.
class Stream final {
 public:
  explicit Stream(unsigned number) : number_(number) {}

  std::string bytes(std::uint64_t offset, std::size_t size) const {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = at(offset + i);
    return text;
  }

  static std::string header(unsigned number) {
    char text[kHeader + 1];
    std::snprintf(text, sizeof text, "steady %8u\n", number);
    return text;
  }

 private:
  char at(std::uint64_t offset) const {
    if (offset < kHeader) return header_[offset];
    std::uint64_t word = (offset / 8) * 0x9E3779B97F4A7C15U + number_ * 0xD1B54A32D192ED03U;
    word ^= word >> 29;
    word *= 0xBF58476D1CE4E5B9U;
    return static_cast<char>(word >> (8 * (offset % 8)));
  }

  unsigned number_;
  std::string header_ = header(number_);
};

struct Sender {
  Sender(unsigned which, std::uint16_t port)
      : client("127.0.0.1", port), stream(which), number(which) {}

  Client client;
  Stream stream;
  unsigned number;
  std::uint64_t sent = 0;
  std::string failure{};
};

/// As much as the socket takes, at most `most`.
std::size_t send_some(Sender& sender, std::size_t most) {
  const std::string bytes = sender.stream.bytes(sender.sent, most);
  const ssize_t n =
      ::send(sender.client.fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) sender.failure = std::strerror(errno);
  if (n > 0) sender.sent += static_cast<std::uint64_t>(n);
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

void send_until_stopped(std::vector<Sender>& senders, std::uint64_t rate) {
  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t total = 0;
  while (stopping == 0) {
    const auto elapsed = std::chrono::steady_clock::now() - begin;
    const auto due = static_cast<std::uint64_t>(std::chrono::duration<double>(elapsed).count() *
                                                static_cast<double>(rate));
    for (Sender& sender : senders) {
      if (total >= due) break;
      if (!sender.failure.empty()) continue;
      total += send_some(sender, std::min<std::uint64_t>(due - total, kMostAtOnce));
    }
    // The one that began this round begins no other one soon.
    std::rotate(senders.begin(), senders.begin() + 1, senders.end());
    ::poll(nullptr, 0, 1);
  }
}

void finish(Sender& sender) {
  if (!sender.failure.empty()) return;
  sender.client.half_close();
  pollfd ready{sender.client.fd(), POLLIN, 0};
  char byte = 0;
  if (::poll(&ready, 1, 60'000) != 1)
    sender.failure = "not closed in time";
  else if (::recv(sender.client.fd(), &byte, 1, MSG_DONTWAIT) < 0)
    sender.failure = std::strerror(errno);
}

/// Empty, or where the file first differs.
std::string difference(const fs::path& path, const Sender& sender) {
  std::ifstream file(path, std::ios::binary);
  std::string block(1 << 20, '\0');
  std::uint64_t offset = 0;
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    const auto size = static_cast<std::size_t>(file.gcount());
    const std::string due = sender.stream.bytes(offset, size);
    const auto at = std::mismatch(due.begin(), due.end(), block.begin()).first - due.begin();
    if (static_cast<std::size_t>(at) != size)
      return "differs at byte " + std::to_string(offset + static_cast<std::uint64_t>(at));
    offset += size;
  }
  return offset == sender.sent ? "" : "has " + std::to_string(offset) + " bytes";
}

std::map<std::string, fs::path> files_by_header(const fs::path& directory) {
  std::map<std::string, fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::string header(kHeader, '\0');
    std::ifstream(entry.path(), std::ios::binary).read(header.data(), kHeader);
    if (!files.emplace(header, entry.path()).second)
      std::printf("%s: a second file of one connection\n", entry.path().c_str());
  }
  return files;
}

int compare(const std::vector<Sender>& senders, const fs::path& directory) {
  const auto files = files_by_header(directory);
  unsigned broken = 0;
  unsigned wrong = 0;
  std::uint64_t bytes = 0;
  for (const Sender& sender : senders) {
    bytes += sender.sent;
    if (!sender.failure.empty()) {
      ++broken;
      std::printf("connection %u: %s after %llu bytes\n", sender.number, sender.failure.c_str(),
                  static_cast<unsigned long long>(sender.sent));
    }
    const auto found = files.find(Stream::header(sender.number));
    const std::string what =
        found == files.end() ? "has no file" : difference(found->second, sender);
    if (what.empty()) continue;
    ++wrong;
    std::printf("connection %u: its file %s, %llu were sent\n", sender.number, what.c_str(),
                static_cast<unsigned long long>(sender.sent));
  }
  std::printf("%zu connections, %llu bytes, %u broken, %u wrong files\n", senders.size(),
              static_cast<unsigned long long>(bytes), broken, wrong);
  return broken + wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::fprintf(stderr, "Usage: steady_load PORT CONNECTIONS BYTES_PER_SECOND DIRECTORY\n");
    return 64;
  }
  std::signal(SIGTERM, [](int) { stopping = 1; });
  std::signal(SIGINT, [](int) { stopping = 1; });
  const auto port = static_cast<std::uint16_t>(std::stoul(argv[1]));
  std::vector<Sender> senders;
  for (unsigned i = 1; i <= std::stoul(argv[2]); ++i) {
    senders.emplace_back(i, port);
    send_some(senders.back(), kHeader);
  }
  std::fprintf(stderr, "all connected\n");
  send_until_stopped(senders, std::stoull(argv[3]));
  for (Sender& sender : senders) finish(sender);
  return compare(senders, argv[4]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "steady_load: %s\n", error.what());
  return 1;
}
