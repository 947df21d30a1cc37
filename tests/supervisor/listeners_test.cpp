#include "supervisor/listeners.h"

#include "common/os/error.h"
#include "common/os/socket.h"
#include "tests/support/tcp_pair.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include <netinet/in.h>

namespace serverd {
namespace {

SocketAddress address_of(const std::string& host, std::uint16_t port) {
  return SocketAddress::from_host(host, port).value();
}

/// An address of the loopback network that no other process of this test uses, so that ports on it
/// are ours.
std::string own_host() {
  const int pid = ::getpid();
  return "127." + std::to_string(1 + (pid >> 16) % 250) + "." + std::to_string((pid >> 8) & 255) +
         "." + std::to_string(1 + (pid & 255) % 254);
}

/// The first of `count` consecutive free ports on `host`.
std::uint16_t free_ports(const std::string& host, unsigned count) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::vector<UniqueFd> held;
    held.push_back(listen_on(address_of(host, 0), 1));
    const std::uint16_t first = SocketAddress::local_of(held.front().get()).port();
    try {
      for (unsigned i = 1; i < count; ++i)
        held.push_back(listen_on(address_of(host, static_cast<std::uint16_t>(first + i)), 1));
      return first;
    } catch (const std::system_error&) {
      continue;
    }
  }
  throw std::runtime_error("no free ports");
}

ServiceConfig service_on(std::vector<ListenRange> listen) {
  ServiceConfig service;
  service.name = "capture";
  service.listen = std::move(listen);
  return service;
}

UniqueFd have_none(const SocketAddress&) { return {}; }

BindResult bind(std::vector<ListenRange> listen, const HaveListener& have = have_none) {
  return bind_listeners(service_on(std::move(listen)), {}, have);
}

BindResult take(const std::string& name, const std::vector<NamedFd>& inherited) {
  return bind_listeners(service_on({{"", 0, 0, name}}), inherited, have_none);
}

ListenRange range(const std::string& host, unsigned first, unsigned last) {
  return {host, static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last), ""};
}

TEST(Listeners, ARangeIsOnePortEach) {
  const std::string host = own_host();
  const std::uint16_t first = free_ports(host, 3);
  const BindResult bound = bind({range(host, first, first + 2U)});
  EXPECT_TRUE(bound.failures.empty());
  ASSERT_EQ(bound.ports.size(), 3U);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(bound.ports[i].port, first + i);
    EXPECT_EQ(bound.ports[i].addresses(), host + ":" + std::to_string(first + i));
  }
}

TEST(Listeners, Listen) {
  const std::string host = own_host();
  const std::uint16_t port = free_ports(host, 1);
  const BindResult bound = bind({range(host, port, port)});
  ASSERT_EQ(bound.ports.size(), 1U);
  const int fd = bound.ports.front().fds.front().get();
  EXPECT_EQ(socket_option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
  const UniqueFd client = connect_to(address_of(host, port));
  EXPECT_TRUE(test::wait_for(fd, POLLIN)) << "a connection arrives";
}

TEST(Listeners, SeveralAddressesOfOnePortBelongTogether) {
  const std::string host = own_host();
  const std::uint16_t port = free_ports(host, 1);
  const std::string other = "127.254.254.254";
  const BindResult bound = bind({range(host, port, port), range(other, port, port)});
  EXPECT_TRUE(bound.failures.empty());
  ASSERT_EQ(bound.ports.size(), 1U);
  EXPECT_EQ(bound.ports.front().addresses(),
            host + ":" + std::to_string(port) + "," + other + ":" + std::to_string(port));
}

TEST(Listeners, BothFamiliesShareAPort) {
  const std::uint16_t port = free_ports("::1", 1);
  const BindResult bound = bind({range("0.0.0.0", port, port), range("::", port, port)});
  EXPECT_EQ(bound.failures, std::vector<std::string>{});
  ASSERT_EQ(bound.ports.size(), 1U);
  const std::string text = std::to_string(port);
  EXPECT_EQ(bound.ports.front().addresses(), "0.0.0.0:" + text + ",[::]:" + text);
}

TEST(Listeners, PortsAscendHoweverTheyWereWritten) {
  const std::string host = own_host();
  const std::uint16_t first = free_ports(host, 3);
  const BindResult bound = bind({range(host, first + 2U, first + 2U), range(host, first, first),
                                 range(host, first + 1U, first + 1U)});
  ASSERT_EQ(bound.ports.size(), 3U);
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(bound.ports[i].port, first + i);
}

TEST(Listeners, ATakenPortIsNamedAndTheOthersAreBound) {
  const std::string host = own_host();
  const std::uint16_t first = free_ports(host, 3);
  const UniqueFd taken = listen_on(address_of(host, static_cast<std::uint16_t>(first + 1)), 1);
  const BindResult bound = bind({range(host, first, first + 2U)});
  EXPECT_EQ(bound.failures,
            std::vector<std::string>{"bind " + host + ":" + std::to_string(first + 1) +
                                     ": Address already in use"});
  ASSERT_EQ(bound.ports.size(), 2U);
  EXPECT_EQ(bound.ports[0].port, first);
  EXPECT_EQ(bound.ports[1].port, first + 2);
}

TEST(Listeners, APortFailsAsAWholeIfOneOfItsAddressesDoes) {
  const std::string host = own_host();
  const std::string other = "127.254.254.253";
  const std::uint16_t port = free_ports(host, 1);
  const UniqueFd taken = listen_on(address_of(other, port), 1);
  const BindResult bound = bind({range(host, port, port), range(other, port, port)});
  EXPECT_EQ(bound.failures.size(), 1U);
  EXPECT_TRUE(bound.ports.empty());
  EXPECT_NO_THROW(listen_on(address_of(host, port), 1)) << "the other address was let go";
}

TEST(Listeners, TheSamePortTwiceIsAFailure) {
  const std::string host = own_host();
  const std::uint16_t port = free_ports(host, 1);
  const BindResult bound = bind({range(host, port, port), range(host, port, port)});
  EXPECT_EQ(bound.failures.size(), 1U);
  EXPECT_TRUE(bound.ports.empty());
}

TEST(Listeners, AnAddressThatIsNotOursIsNamed) {
  // RFC 5737: never assigned.
  const BindResult bound = bind({range("192.0.2.1", 5000, 5000)});
  EXPECT_EQ(bound.failures,
            std::vector<std::string>{"bind 192.0.2.1:5000: Cannot assign requested address"});
}

TEST(Listeners, AnAddressThatWeHaveIsNotBoundAgain) {
  const std::string host = own_host();
  const std::uint16_t first = free_ports(host, 2);
  const UniqueFd had = listen_on(address_of(host, first), 1);
  const BindResult bound =
      bind({range(host, first, first + 1U)}, [&](const SocketAddress& address) {
        return address == address_of(host, first) ? duplicate(had.get()) : UniqueFd();
      });
  EXPECT_EQ(bound.failures, std::vector<std::string>{});
  ASSERT_EQ(bound.ports.size(), 2U);
  EXPECT_EQ(socket_cookie(bound.ports[0].fds.front().get()), socket_cookie(had.get()));
}

TEST(Listeners, InheritedSocketsAreTakenByName) {
  std::vector<NamedFd> inherited;
  for (const char* name : {"web", "other", "web"})
    inherited.push_back({name, listen_on(test::loopback(), 1)});
  const BindResult bound = take("web", inherited);
  EXPECT_EQ(bound.failures, std::vector<std::string>{});
  ASSERT_EQ(bound.ports.size(), 2U);
  std::set<std::uint64_t> taken;
  for (const PortListeners& port : bound.ports) taken.insert(socket_cookie(port.fds.front().get()));
  EXPECT_EQ(taken,
            (std::set{socket_cookie(inherited[0].fd.get()), socket_cookie(inherited[2].fd.get())}));
}

TEST(Listeners, InheritedSocketsStayForTheNextReload) {
  std::vector<NamedFd> inherited;
  inherited.push_back({"web", listen_on(test::loopback(), 1)});
  EXPECT_EQ(take("web", inherited).ports.size(), 1U);
  EXPECT_EQ(take("web", inherited).ports.size(), 1U);
}

TEST(Listeners, InheritedSocketsOfOnePortBelongTogether) {
  std::vector<NamedFd> inherited;
  inherited.push_back({"web", listen_on(test::loopback(), 1)});
  const std::uint16_t port = SocketAddress::local_of(inherited.front().fd.get()).port();
  inherited.push_back({"web", listen_on(address_of("127.254.254.252", port), 1)});
  const BindResult bound = take("web", inherited);
  ASSERT_EQ(bound.ports.size(), 1U);
  EXPECT_EQ(bound.ports.front().fds.size(), 2U);
}

TEST(Listeners, AMissingInheritedSocketIsNamed) {
  std::vector<NamedFd> inherited;
  inherited.push_back({"other", listen_on(test::loopback(), 1), 3});
  const std::string address = SocketAddress::local_of(inherited.front().fd.get()).to_string();
  const BindResult bound = take("web", inherited);
  EXPECT_TRUE(bound.ports.empty());
  EXPECT_EQ(bound.failures,
            std::vector<std::string>{"service capture: no socket named 'web' was inherited "
                                     "(LISTEN_FDNAMES); there is descriptor 3 (other, " +
                                     address + ")"});
  EXPECT_EQ(take("web", {}).failures,
            std::vector<std::string>{"service capture: no socket named 'web' was inherited "
                                     "(LISTEN_FDNAMES); there is none"});
}

TEST(Listeners, AnInheritedSocketOfTheWrongKindIsNamed) {
  std::vector<NamedFd> inherited;
  inherited.push_back({"web", test::tcp_pair().server, 7});
  const BindResult bound = take("web", inherited);
  EXPECT_TRUE(bound.ports.empty());
  ASSERT_EQ(bound.failures.size(), 1U);
  EXPECT_TRUE(bound.failures[0].starts_with("service capture: inherited descriptor 7 (web, "))
      << bound.failures[0];
}

TEST(Listeners, AnInheritedSocketOfTheAddressIsUsedInsteadOfBinding) {
  std::vector<NamedFd> inherited;
  inherited.push_back({"other", listen_on(test::loopback(), 1)});
  inherited.push_back({"any", listen_on(test::loopback(), 1)});
  const std::uint16_t port = SocketAddress::local_of(inherited[1].fd.get()).port();
  const BindResult bound =
      bind_listeners(service_on({range("127.0.0.1", port, port)}), inherited, have_none);
  EXPECT_EQ(bound.failures, std::vector<std::string>{});
  ASSERT_EQ(bound.ports.size(), 1U);
  EXPECT_EQ(socket_cookie(bound.ports[0].fds.front().get()), socket_cookie(inherited[1].fd.get()));
}

TEST(Listeners, ASocketMeantByNameAndByAddressIsTakenOnce) {
  std::vector<NamedFd> inherited;
  inherited.push_back({"web", listen_on(test::loopback(), 1)});
  const std::uint16_t port = SocketAddress::local_of(inherited[0].fd.get()).port();
  const BindResult bound = bind_listeners(
      service_on({{"", 0, 0, "web"}, range("127.0.0.1", port, port)}), inherited, have_none);
  ASSERT_EQ(bound.ports.size(), 1U);
  EXPECT_EQ(bound.ports[0].fds.size(), 1U);
}

}  // namespace
}  // namespace serverd
