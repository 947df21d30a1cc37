#include "common/journal.h"

#include "common/os/error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/socket.h>
#include <sys/un.h>

namespace serverd {
namespace {

/// Far below what a datagram may hold.
constexpr std::size_t kLongestValue = 32'768;

void add(std::string& entry, std::string_view name, std::string_view value) {
  entry.append(name).append("=");
  const std::size_t start = entry.size();
  entry.append(value.substr(0, kLongestValue));
  std::replace(entry.begin() + static_cast<std::ptrdiff_t>(start), entry.end(), '\n', ' ');
  entry += '\n';
}

/// As sd_journal_send(3) has it: the program, without what a worker's title adds to it.
std::string_view identifier() {
  const std::string_view title = program_invocation_short_name;
  return title.substr(0, title.find(':'));
}

}  // namespace

Journal::Journal(std::string path)
    : path_(std::move(path)),
      fd_(UniqueFd::adopt(
          check_call(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                     "socket for " + path_))) {
  if (path_.size() >= sizeof sockaddr_un::sun_path) throw_system_error(ENAMETOOLONG, path_);
}

bool Journal::send(int priority, std::string_view text,
                   std::span<const JournalField> fields) const {
  std::string entry;
  add(entry, "MESSAGE", text);
  add(entry, "PRIORITY", std::to_string(priority));
  add(entry, "SYSLOG_IDENTIFIER", identifier());
  for (const JournalField& field : fields) add(entry, field.name, field.value);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  return ::sendto(fd_.get(), entry.data(), entry.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                  reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) == static_cast<ssize_t>(entry.size());
}

}  // namespace serverd
