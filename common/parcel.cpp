#include "common/parcel.h"

#include "common/log.h"
#include "common/os/descriptor_message.h"
#include "common/os/error.h"
#include "common/os/socket.h"

#include <cerrno>
#include <cstring>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace serverd {

namespace {

/// kParcelMessageSize names of up to 255 bytes, which systemd allows, and what is put before each.
constexpr std::size_t kLongestText = std::size_t{128} << 10;

}  // namespace

Parcel make_parcel() {
  int ends[2];
  check_call(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
             "socketpair for a parcel");
  Parcel parcel{UniqueFd::adopt(ends[0]), UniqueFd::adopt(ends[1])};
  // Each message is one byte, but is charged with its overhead.
  const int size = 4 << 20;
  ::setsockopt(parcel.entrance.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return parcel;
}

int put_into_parcel(int entrance, std::span<const int> descriptors,
                    std::string_view text) noexcept {
  alignas(cmsghdr) char control[CMSG_SPACE(kParcelMessageSize * sizeof(int))];
  iovec part{const_cast<char*>(text.data()), text.size()};  // only read by sendmsg(2)
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  return ::sendmsg(entrance, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

namespace {

short poll_now(int fd, short events) noexcept {
  pollfd state{fd, events, 0};
  return ::poll(&state, 1, 0) == 1 ? state.revents : short{0};
}

}  // namespace

namespace {

std::vector<ParcelMessage> receive_messages(int held, int flags) {
  std::vector<ParcelMessage> messages;
  std::string text(kLongestText, '\0');
  for (;;) {
    alignas(cmsghdr) char control[CMSG_SPACE(kParcelMessageSize * sizeof(int))];
    iovec part{text.data(), text.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(held, &header, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return messages;
    if ((header.msg_flags & MSG_CTRUNC) != 0)
      log::error("descriptors were lost from a parcel: none are left (RLIMIT_NOFILE)");
    messages.push_back({text.substr(0, static_cast<std::size_t>(n)), received_descriptors(header)});
  }
}

void set_peek_offset(int held, int offset) {
  check_call(::setsockopt(held, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset), "SO_PEEK_OFF");
}

}  // namespace

std::vector<ParcelMessage> take_messages_out_of_parcel(int held) {
  return receive_messages(held, 0);
}

/// SO_PEEK_OFF (socket(7)): each look begins where the last one ended, from 0 on.
std::vector<ParcelMessage> look_into_parcel(int held) {
  set_peek_offset(held, 0);
  std::vector<ParcelMessage> messages = receive_messages(held, MSG_PEEK);
  set_peek_offset(held, -1);
  return messages;
}

std::vector<UniqueFd> take_out_of_parcel(int held) {
  std::vector<UniqueFd> descriptors;
  for (ParcelMessage& message : take_messages_out_of_parcel(held))
    for (UniqueFd& fd : message.descriptors) descriptors.push_back(std::move(fd));
  return descriptors;
}

bool is_parcel(int fd) noexcept {
  return socket_option(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX &&
         socket_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_SEQPACKET;
}

bool parcel_complete(int held) noexcept {
  return (poll_now(held, POLLRDHUP) & (POLLRDHUP | POLLHUP)) != 0;
}

bool parcel_filled(int held) noexcept {
  int waiting = 0;  // poll(2) would call the end of the parcel readable, too
  return ::ioctl(held, SIOCINQ, &waiting) == 0 && waiting > 0;
}

}  // namespace serverd
