#include "common/handoff.h"

#include "common/log.h"
#include "common/os/error.h"
#include "common/os/memfd.h"
#include "common/os/socket.h"

#include <climits>
#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd {
namespace {

/// The variables as they were before sd_listen_fds(3) took them away.
struct Announcement {
  std::optional<std::string> pid = variable("LISTEN_PID");
  std::optional<std::string> fds = variable("LISTEN_FDS");
  std::optional<std::string> names = variable("LISTEN_FDNAMES");

  static std::optional<std::string> variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  }

  std::string name_of(int index) const {
    std::string_view rest = names ? std::string_view(*names) : "";
    for (; index > 0 && !rest.empty(); --index)
      rest.remove_prefix(std::min(rest.find(':'), rest.size() - 1) + 1);
    return std::string(rest.substr(0, rest.find(':')));
  }
};

/// Empty if `text` is not a number from 1 to `most`.
std::optional<int> positive_number(const std::string& text, int most) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool good = error == std::errc() && end == text.data() + text.size();
  return good && number > 0 && number <= most ? std::optional(number) : std::nullopt;
}

/// What sd_listen_fds(3) says only by an errno value.
std::string what_is_wrong(const Announcement& announced, int error) {
  const std::string fds = announced.fds.value_or("");
  if (!positive_number(announced.pid.value_or(""), INT_MAX))
    return fmt::format("LISTEN_PID={}: not the number of a process", announced.pid.value_or(""));
  const auto count = positive_number(fds, INT_MAX - SD_LISTEN_FDS_START);
  if (!count) return fmt::format("LISTEN_FDS={}: not a number of descriptors", fds);
  for (int i = 0; i < *count; ++i)
    if (::fcntl(SD_LISTEN_FDS_START + i, F_GETFD) < 0)
      return fmt::format("LISTEN_FDS={}: descriptor {} ({}) is not open", fds,
                         SD_LISTEN_FDS_START + i, announced.name_of(i));
  if (announced.names && std::count(announced.names->begin(), announced.names->end(), ':') + 1 !=
                             std::ptrdiff_t{*count})
    return fmt::format("LISTEN_FDNAMES={}: not as many names as LISTEN_FDS={}", *announced.names,
                       fds);
  return fmt::format("LISTEN_PID, LISTEN_FDS or LISTEN_FDNAMES is malformed: {}",
                     error_text(error));
}

/// sd_listen_fds_with_names(3) allocates a null-terminated list of strings.
struct FreeNames {
  void operator()(char** names) const {
    for (char** name = names; *name != nullptr; ++name) ::free(*name);
    ::free(names);
  }
};

void require_listener(const NamedFd& item) {
  const bool listens = ::sd_is_socket(item.fd.get(), AF_INET, SOCK_STREAM, 1) > 0 ||
                       ::sd_is_socket(item.fd.get(), AF_INET6, SOCK_STREAM, 1) > 0;
  if (!listens)
    throw HandoffError(
        fmt::format("descriptor {} ({}): not a listening TCP socket", item.fd.get(), item.name));
}

void set_nonblocking(const NamedFd& item) {
  const int flags = ::fcntl(item.fd.get(), F_GETFL);
  check_call(::fcntl(item.fd.get(), F_SETFL, flags | O_NONBLOCK),
             fmt::format("O_NONBLOCK on descriptor {} ({})", item.fd.get(), item.name));
}

void take_listener(Handoff& handoff, NamedFd& item) {
  require_listener(item);
  set_nonblocking(item);
  handoff.listeners.push_back(std::move(item.fd));
}

void take_memfd(UniqueFd& place, NamedFd& item, int seals, const char* kind) {
  if (place)
    throw HandoffError(fmt::format("descriptor {}: '{}' given twice", item.fd.get(), item.name));
  if (!has_seals(item.fd.get(), seals))
    throw HandoffError(fmt::format("descriptor {} ({}): not {}", item.fd.get(), item.name, kind));
  place = std::move(item.fd);
}

void require_parcel(const NamedFd& item) {
  if (::sd_is_socket(item.fd.get(), AF_UNIX, SOCK_SEQPACKET, 0) <= 0)
    throw HandoffError(
        fmt::format("descriptor {} ({}): not a connected UNIX socket", item.fd.get(), item.name));
}

void take_parcel(Handoff& handoff, NamedFd& item) {
  require_parcel(item);
  handoff.parcels.push_back(std::move(item.fd));
}

void take_parcel_out(Handoff& handoff, NamedFd& item) {
  if (handoff.parcel_out)
    throw HandoffError(fmt::format("descriptor {}: '{}' given twice", item.fd.get(), item.name));
  require_parcel(item);
  handoff.parcel_out = std::move(item.fd);
}

void require_listeners(const Handoff& handoff) {
  if (handoff.listeners.empty())
    throw HandoffError(
        "no listening socket was handed over (LISTEN_FDS); start this program from stream-serverd, "
        "systemd or systemd-socket-activate");
  const std::uint16_t port = SocketAddress::local_of(handoff.listeners.front().get()).port();
  for (const UniqueFd& fd : handoff.listeners)
    if (const auto other = SocketAddress::local_of(fd.get()).port(); other != port)
      throw HandoffError(
          fmt::format("a worker serves one port, but was given ports {} and {}", port, other));
}

}  // namespace

std::vector<NamedFd> receive_descriptors() {
  const Announcement announced;
  char** raw_names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &raw_names);
  if (count < 0) throw HandoffError(what_is_wrong(announced, -count));
  if (count == 0 && announced.pid && announced.fds)
    log::warning(
        "LISTEN_PID={} is not this process ({}): the descriptors that LISTEN_FDS={} "
        "announces are left alone",
        *announced.pid, ::getpid(), *announced.fds);
  const std::unique_ptr<char*, FreeNames> names(raw_names);
  std::vector<NamedFd> descriptors;
  descriptors.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i)
    descriptors.push_back(
        {names.get()[i], UniqueFd::adopt(SD_LISTEN_FDS_START + i), SD_LISTEN_FDS_START + i});
  return descriptors;
}

Handoff Handoff::from_supervisor(std::vector<NamedFd> descriptors) {
  Handoff handoff;
  for (NamedFd& item : descriptors) {
    if (item.name == handoff_name::kListen)
      take_listener(handoff, item);
    else if (item.name == handoff_name::kConfig)
      take_memfd(handoff.config, item, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK,
                 "a sealed memfd");
    else if (item.name == handoff_name::kLedger)
      take_memfd(handoff.ledger, item, F_SEAL_GROW | F_SEAL_SHRINK, "a memfd sealed in size");
    else if (item.name == handoff_name::kParcel)
      take_parcel(handoff, item);
    else if (item.name == handoff_name::kParcelOut)
      take_parcel_out(handoff, item);
    else
      throw HandoffError(fmt::format("descriptor {}: unknown name '{}'", item.fd.get(), item.name));
  }
  // A port that was removed keeps what its last worker left, but accepts nothing more.
  if (handoff.parcels.empty() || !handoff.listeners.empty()) require_listeners(handoff);
  if (!handoff.config) throw HandoffError("descriptor 'config' is missing");
  if (!handoff.ledger) throw HandoffError("descriptor 'ledger' is missing");
  if (!handoff.parcel_out) throw HandoffError("descriptor 'parcel-out' is missing");
  return handoff;
}

Handoff Handoff::from_activation(std::vector<NamedFd> descriptors) {
  Handoff handoff;
  for (NamedFd& item : descriptors) take_listener(handoff, item);
  require_listeners(handoff);
  return handoff;
}

}  // namespace serverd
