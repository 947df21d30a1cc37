#include "common/os/socket.h"

#include "tests/support/tcp_pair.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace serverd {
namespace {

using test::loopback;
using test::tcp_pair;
using test::TcpPair;

SocketAddress address(const std::string& host, std::uint16_t port) {
  const auto found = SocketAddress::from_host(host, port);
  EXPECT_TRUE(found) << host;
  return found.value_or(SocketAddress());
}

/// What `call` says when it fails.
template <typename Call>
std::string failure_of(Call call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return error.what();
  }
  return "no failure";
}

bool has_ipv6() {
  return failure_of([] { listen_on(address("::1", 0), 1); }) == "no failure";
}

// Addresses

TEST(SocketAddress, PrintsWhatItParsed) {
  EXPECT_EQ(address("127.0.0.1", 5000).to_string(), "127.0.0.1:5000");
  EXPECT_EQ(address("::1", 65535).to_string(), "[::1]:65535");
  EXPECT_EQ(address("2001:DB8:0:0:0:0:0:1", 0).to_string(), "[2001:db8::1]:0");
  EXPECT_EQ(address("::1", 5).host(), "::1");
}

TEST(SocketAddress, KnowsItsParts) {
  EXPECT_EQ(address("10.0.0.1", 80).family(), AF_INET);
  EXPECT_EQ(address("10.0.0.1", 80).port(), 80);
  EXPECT_EQ(address("fe80::2", 81).family(), AF_INET6);
  EXPECT_EQ(address("fe80::2", 81).port(), 81);
  EXPECT_EQ(address("::1", 1).size(), sizeof(sockaddr_in6));
}

TEST(SocketAddress, KnowsTheWildcards) {
  EXPECT_TRUE(address("0.0.0.0", 1).is_wildcard());
  EXPECT_TRUE(address("::", 1).is_wildcard());
  EXPECT_FALSE(address("127.0.0.1", 1).is_wildcard());
  EXPECT_FALSE(address("::1", 1).is_wildcard());
  EXPECT_FALSE(SocketAddress().is_wildcard());
}

TEST(SocketAddress, TakesOnlyWholeNumericAddresses) {
  for (const std::string host :
       {"", "1", "127.1", "0x7f.1", "0x7f000001", "127.0.0.01", "127.0.0.256", "127.0.0.1.", " ::1",
        "127.0.0.1 ", "localhost", "[::1]", "::1::", "1:2:3", "*", "::1%", "127.0.0.1%lo"})
    EXPECT_FALSE(SocketAddress::from_host(host, 1)) << "'" << host << "'";
}

TEST(SocketAddress, DoesNotStopAtANul) {
  EXPECT_FALSE(SocketAddress::from_host(std::string_view("127.0.0.1\0.evil", 15), 1));
  EXPECT_FALSE(SocketAddress::from_host(std::string_view("::1\0", 4), 1));
}

TEST(SocketAddress, KeepsTheScopeOfALinkLocalAddress) {
  EXPECT_EQ(address("fe80::1%lo", 5).to_string(), "[fe80::1%lo]:5");
  EXPECT_EQ(address("fe80::1%1", 5), address("fe80::1%lo", 5)) << "lo is interface 1";
  EXPECT_NE(address("fe80::1", 5), address("fe80::1%lo", 5));
  EXPECT_FALSE(SocketAddress::from_host("fe80::1%nosuch0", 5));
}

TEST(SocketAddress, ComparesAddressAndPort) {
  EXPECT_EQ(address("127.0.0.1", 5), address("127.0.0.1", 5));
  EXPECT_NE(address("127.0.0.1", 5), address("127.0.0.1", 6));
  EXPECT_NE(address("127.0.0.1", 5), address("127.0.0.2", 5));
  EXPECT_NE(address("0.0.0.0", 5), address("::", 5));
  EXPECT_EQ(SocketAddress(), SocketAddress());
}

TEST(SocketAddress, OfNothingIsHarmless) {
  EXPECT_EQ(SocketAddress().host(), "?");
  EXPECT_EQ(SocketAddress().port(), 0);
}

TEST(SocketAddress, SurvivesTheWayThroughStorage) {
  const SocketAddress original = address("::1", 5000);
  sockaddr_storage storage{};
  std::memcpy(&storage, original.data(), original.size());
  EXPECT_EQ(SocketAddress::from_storage(storage, original.size()), original);
}

TEST(SocketAddress, IsThatOfEitherEnd) {
  const TcpPair pair = tcp_pair();
  EXPECT_EQ(SocketAddress::peer_of(pair.server.get()), SocketAddress::local_of(pair.client.get()));
  EXPECT_EQ(SocketAddress::peer_of(pair.client.get()), SocketAddress::local_of(pair.server.get()));
}

TEST(SocketAddress, OfAPeerIsGoneAfterAReset) {
  TcpPair pair = tcp_pair();
  test::reset_connection(pair.client);
  ASSERT_TRUE(test::wait_for(pair.server.get(), POLLHUP));
  EXPECT_EQ(SocketAddress::peer_of(pair.server.get()), std::nullopt);
}

TEST(SocketAddress, OfAClosedDescriptorThrows) {
  EXPECT_EQ(failure_of([] { SocketAddress::local_of(-1); }),
            "getsockname of descriptor -1: Bad file descriptor");
}

// Listening and connecting

TEST(ListenOn, NamesTheAddressItCannotHave) {
  const UniqueFd first = listen_on(loopback(), 1);
  const SocketAddress taken = SocketAddress::local_of(first.get());
  EXPECT_EQ(failure_of([&] { listen_on(taken, 1); }),
            "bind " + taken.to_string() + ": Address already in use");
  EXPECT_EQ(failure_of([] { listen_on(address("192.0.2.1", 7), 1); }),
            "bind 192.0.2.1:7: Cannot assign requested address");
}

TEST(ListenOn, MakesAListenerThatNeitherBlocksNorIsInherited) {
  const UniqueFd fd = listen_on(loopback(), 1);
  EXPECT_EQ(socket_option(fd.get(), SOL_SOCKET, SO_ACCEPTCONN), 1);
  EXPECT_EQ(socket_option(fd.get(), SOL_SOCKET, SO_REUSEADDR), 1);
  EXPECT_TRUE((::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0);
  EXPECT_TRUE((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST(ListenOn, TakesIpv6OnlySoThatBothFamiliesShareAPort) {
  if (!has_ipv6()) FAIL() << "this machine has no IPv6";
  const UniqueFd v6 = listen_on(address("::", 0), 1);
  EXPECT_EQ(socket_option(v6.get(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
  const std::uint16_t port = SocketAddress::local_of(v6.get()).port();
  EXPECT_EQ(failure_of([&] { listen_on(address("0.0.0.0", port), 1); }), "no failure");
}

TEST(ConnectTo, DoesNotWait) {
  const UniqueFd listener = listen_on(loopback(), 1);
  const UniqueFd fd = connect_to(SocketAddress::local_of(listener.get()));
  EXPECT_TRUE((::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0);
  EXPECT_TRUE((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  ASSERT_TRUE(test::wait_for(fd.get(), POLLOUT));
  EXPECT_EQ(socket_option(fd.get(), SOL_SOCKET, SO_ERROR), 0);
}

TEST(ConnectTo, NamesTheAddressItCannotReach) {
  EXPECT_EQ(failure_of([] { connect_to(address("255.255.255.255", 9)); }).substr(0, 28),
            "connect 255.255.255.255:9: N");
}

// Options and cookies

TEST(SocketOption, IsEmptyWhereThereIsNone) {
  const UniqueFd file = UniqueFd::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(socket_option(file.get(), SOL_SOCKET, SO_ERROR), std::nullopt);
  EXPECT_EQ(socket_option(-1, SOL_SOCKET, SO_ERROR), std::nullopt);
}

TEST(SocketCookie, NamesTheSocketAndNotTheDescriptor) {
  const UniqueFd one = listen_on(loopback(), 1);
  const UniqueFd other = listen_on(loopback(), 1);
  const UniqueFd same = UniqueFd::adopt(::fcntl(one.get(), F_DUPFD_CLOEXEC, 3));
  EXPECT_NE(socket_cookie(one.get()), 0U);
  EXPECT_EQ(socket_cookie(one.get()), socket_cookie(same.get()));
  EXPECT_NE(socket_cookie(one.get()), socket_cookie(other.get()));
}

TEST(SocketCookie, OfWhatIsNoSocketIsZero) {
  const UniqueFd file = UniqueFd::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(socket_cookie(file.get()), 0U);
  EXPECT_EQ(socket_cookie(-1), 0U);
}

}  // namespace
}  // namespace serverd
