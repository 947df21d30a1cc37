#include "common/handoff.h"
#include "common/ledger.h"
#include "common/os/error.h"
#include "common/os/memfd.h"
#include "common/os/socket.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/// Whatever the variables say and whatever kind the descriptors are, a worker takes what is right
/// or says HandoffError; it never crashes and never takes half.
///
/// Input: three lines, LISTEN_PID ("us": this process), LISTEN_FDS and LISTEN_FDNAMES, "-" for an
/// unset one; a byte, even for a worker of the supervisor; then the kinds of the descriptors from
/// number 3 on, a byte each.
namespace {

using namespace serverd;

constexpr int kFirst = 3;  // SD_LISTEN_FDS_START
constexpr int kMaxDescriptors = 8;

UniqueFd listener(const char* host, std::uint16_t port) {
  return listen_on(SocketAddress::from_host(host, port).value(), 1);
}

UniqueFd plain_socket(int family, int type) {
  return UniqueFd::adopt(check_call(::socket(family, type | SOCK_CLOEXEC, 0), "socket"));
}

UniqueFd parcel() {
  int ends[2];
  check_call(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "socketpair");
  ::close(ends[1]);
  return UniqueFd::adopt(ends[0]);
}

/// One of each kind, made once; inputs get duplicates.
const std::vector<UniqueFd>& kinds() {
  static const std::vector<UniqueFd> made = [] {
    std::vector<UniqueFd> fds;
    fds.push_back(listener("127.0.0.1", 0));
    fds.push_back(listener("::1", SocketAddress::local_of(fds.front().get()).port()));
    fds.push_back(listener("127.0.0.1", 0));
    fds.push_back(sealed_text("config", "text"));
    fds.push_back(ledger::create(5000, "stream", 1));
    fds.push_back(parcel());
    fds.push_back(plain_socket(AF_INET, SOCK_STREAM));
    fds.push_back(plain_socket(AF_INET, SOCK_DGRAM));
    fds.push_back(plain_socket(AF_UNIX, SOCK_STREAM));
    fds.push_back(UniqueFd::adopt(check_call(::memfd_create("plain", MFD_CLOEXEC), "memfd")));
    fds.push_back(UniqueFd::adopt(check_call(::open("/dev/null", O_RDWR | O_CLOEXEC), "open")));
    for (UniqueFd& fd : fds)  // above the numbers that are handed over
      fd = UniqueFd::adopt(check_call(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 100), "dup"));
    return fds;
  }();
  return made;
}

/// Clears the numbers from 3 on, which receive_descriptors owns, of what the fuzzer has there, and
/// puts it back at the end. One number more, so that what follows the last descriptor is closed.
class FreeNumbers final {
 public:
  FreeNumbers() {
    for (int fd = kFirst; fd <= kFirst + kMaxDescriptors; ++fd) {
      aside_.push_back(UniqueFd::adopt(::fcntl(fd, F_DUPFD_CLOEXEC, 100)));
      ::close(fd);
    }
  }
  ~FreeNumbers() {
    int fd = kFirst;
    for (const UniqueFd& aside : aside_) {
      ::close(fd);
      if (aside) ::dup2(aside.get(), fd);
      ++fd;
    }
  }
  FreeNumbers(const FreeNumbers&) = delete;
  FreeNumbers& operator=(const FreeNumbers&) = delete;

 private:
  std::vector<UniqueFd> aside_;
};

std::string_view next_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return line;
}

/// `place` is what the environment points to; setenv(3) would keep every value for good.
void set_variable(std::string& place, const char* name, std::string_view value) {
  const std::string text(value.substr(0, value.find('\0')));
  ::unsetenv(name);
  if (text == "-") return;
  place = std::string(name) + "=" + (text == "us" ? std::to_string(::getpid()) : text);
  ::putenv(place.data());
}

void place_descriptors(std::string_view selection) {
  int target = kFirst;
  for (const char kind : selection.substr(0, kMaxDescriptors)) {
    const auto index = static_cast<unsigned char>(kind) % (kinds().size() + 1);
    if (index < kinds().size()) ::dup2(kinds()[index].get(), target);  // else it stays closed
    ++target;
  }
}

void check(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

void check_handoff(const Handoff& handoff, bool supervised) {
  check(!handoff.listeners.empty() || (supervised && !handoff.parcels.empty()),
        "taken without a listener");
  for (const UniqueFd& fd : handoff.listeners)
    check(socket_option(fd.get(), SOL_SOCKET, SO_ACCEPTCONN) == 1, "not a listener");
  if (!supervised) return;
  check(has_seals(handoff.config.get(), F_SEAL_WRITE), "not a config");
  check(has_seals(handoff.ledger.get(), F_SEAL_GROW | F_SEAL_SHRINK), "not a ledger");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  static_cast<void>(kinds());
  const FreeNumbers numbers;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  static std::string pid;
  static std::string fds;
  static std::string names;
  set_variable(pid, "LISTEN_PID", next_line(rest));
  set_variable(fds, "LISTEN_FDS", next_line(rest));
  set_variable(names, "LISTEN_FDNAMES", next_line(rest));
  const bool supervised = !rest.empty() && (rest.front() & 1) == 0;
  place_descriptors(rest.substr(rest.empty() ? 0 : 1));
  try {
    std::vector<NamedFd> received = receive_descriptors();
    check_handoff(supervised ? Handoff::from_supervisor(std::move(received))
                             : Handoff::from_activation(std::move(received)),
                  supervised);
  } catch (const HandoffError&) {
  }
  return 0;
}
