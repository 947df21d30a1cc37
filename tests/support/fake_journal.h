#pragma once

#include "common/os/error.h"
#include "common/os/unique_fd.h"

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace serverd::test {

/// The socket that journald(8) receives entries from.
class FakeJournal final {
 public:
  explicit FakeJournal(const std::string& path)
      : fd_(UniqueFd::adopt(check_call(
            ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"))) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    check_call(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
               "bind " + path);
    std::filesystem::permissions(path, std::filesystem::perms(0666));
  }

  /// All entries that have come, in the order in which they came.
  const std::vector<std::string>& entries() {
    std::string entry(1 << 20, '\0');
    for (ssize_t n = 0; (n = ::recv(fd_.get(), entry.data(), entry.size(), 0)) >= 0;)
      entries_.push_back(entry.substr(0, static_cast<std::size_t>(n)));
    return entries_;
  }

  /// The first entry whose message contains `text`; empty if none comes within 20 s of the one
  /// before.
  std::string entry_with(const std::string& text) {
    for (std::size_t i = 0;; ++i) {
      pollfd ready{fd_.get(), POLLIN, 0};
      if (i == entries().size() && ::poll(&ready, 1, 20'000) != 1) return "";
      if (entries()[i].find(text) < entries()[i].find('\n')) return entries_[i];
    }
  }

 private:
  UniqueFd fd_;
  std::vector<std::string> entries_;
};

}  // namespace serverd::test
