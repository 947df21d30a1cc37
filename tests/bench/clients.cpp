#include "tests/bench/clients.h"

#include "common/os/error.h"

#include <cerrno>
#include <csignal>
#include <sstream>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd::bench {
namespace {

constexpr unsigned kSources = 8;

sockaddr_in loopback(std::uint32_t host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(host);
  return address;
}

}  // namespace

void bound_lifetime(unsigned seconds) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  ::alarm(seconds);
}

UniqueFd connect_client(std::uint16_t port, unsigned source) {
  UniqueFd fd = UniqueFd::adopt(
      check_call(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket of a client"));
  if (source != 0) {
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    const sockaddr_in own = loopback(0x7f000100 + source, 0);
    check_call(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own),
               "bind of a client");
  }
  const sockaddr_in server = loopback(INADDR_LOOPBACK, port);
  check_call(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&server), sizeof server),
             "connect to port " + std::to_string(port));
  return fd;
}

std::vector<UniqueFd> connect_clients(std::uint16_t port, unsigned count) {
  std::vector<UniqueFd> clients;
  clients.reserve(count);
  while (clients.size() < count)
    clients.push_back(connect_client(port, 1 + static_cast<unsigned>(clients.size()) % kSources));
  return clients;
}

void send_all(int fd, const char* bytes, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t n = ::send(fd, bytes + done, size - done, MSG_NOSIGNAL);
    if (n >= 0)
      done += static_cast<std::size_t>(n);
    else if (errno != EINTR)
      throw_system_error(errno, "send");
  }
}

void end_stream(int fd) { check_call(::shutdown(fd, SHUT_WR), "shutdown of a client"); }

bool has_closed(int fd) {
  char answer[256];
  for (;;) {
    const ssize_t n = ::recv(fd, answer, sizeof answer, MSG_DONTWAIT);
    if (n == 0) return true;
    if (n < 0 && errno == EAGAIN) return false;
    if (n < 0 && errno != EINTR) throw_system_error(errno, "the server's end of a connection");
  }
}

void await_close(int fd) {
  char byte = 0;
  check_call(static_cast<int>(::recv(fd, &byte, 1, 0)), "the server's end of a connection");
}

std::vector<std::uint16_t> parse_ports(const std::string& text) {
  std::vector<std::uint16_t> ports;
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ',');)
    ports.push_back(static_cast<std::uint16_t>(std::stoul(item)));
  return ports;
}

}  // namespace serverd::bench
