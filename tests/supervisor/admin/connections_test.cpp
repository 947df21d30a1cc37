#include "supervisor/admin/connections.h"

#include "tests/support/tcp_pair.h"

#include <gtest/gtest.h>

#include <netinet/tcp.h>

namespace serverd {
namespace {

using ledger::SlotState;

constexpr std::uint64_t kNow = 100'000'000'000;

SocketAddress address(const char* host, std::uint16_t port) {
  return SocketAddress::from_host(host, port).value();
}

/// Two ports' ledgers, as an admin command has them, and what writes to them.
struct Rig {
  Rig() {
    for (const std::uint16_t port : {5000, 5001}) {
      memory.push_back(ledger::create(port, "stream", 8));
      writers.emplace_back(memory.back().get(), Mapping::Access::kReadWrite);
      ports.push_back({{"capture", "stream", port, 77},
                       ledger::Ledger(memory.back().get(), Mapping::Access::kRead)});
    }
  }

  ledger::Slot& enter(std::size_t port, std::size_t index, std::uint64_t id, std::uint64_t cookie) {
    ledger::Slot& slot = writers[port].slots()[index];
    slot.id = id;
    slot.cookie = cookie;
    slot.bytes = id * 100;
    slot.accepted_at = kNow - 7'000'000'000;
    slot.peer = ledger::PeerAddress::from(address("10.0.0.1", 99));
    slot.state = SlotState::kOpen;
    ++writers[port].counters().open;
    return slot;
  }

  std::vector<ConnectionRow> join(const std::vector<TcpSocket>& sockets) const {
    return join_connections(
        ports, [&] { return sockets; }, kNow);
  }

  std::vector<UniqueFd> memory;
  std::vector<ledger::Ledger> writers;
  std::vector<PortLedger> ports;
};

TcpSocket socket(std::uint64_t cookie, std::uint16_t port, std::uint32_t inode = 1,
                 std::uint8_t state = TCP_ESTABLISHED) {
  TcpSocket socket;
  socket.cookie = cookie;
  socket.local = address("127.0.0.1", port);
  socket.peer = address("127.0.0.1", 40000);
  socket.state = state;
  socket.recv_q = 3;
  socket.inode = inode;
  return socket;
}

TEST(Connections, AreJoinedByCookieAndSorted) {
  Rig rig;
  rig.enter(1, 0, 4, 14);
  rig.enter(0, 5, 10, 12);
  rig.enter(0, 2, 9, 13);
  const auto rows = rig.join({socket(12, 5000), socket(14, 5001), socket(13, 5000)});
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].id->to_string(), "5000-9");
  EXPECT_EQ(rows[1].id->to_string(), "5000-10");
  EXPECT_EQ(rows[2].id->to_string(), "5001-4");
  EXPECT_EQ(rows[1].bytes, 1000U);
  EXPECT_EQ(rows[1].age_s, 7U);
  EXPECT_EQ(rows[1].recv_q, 3U);
  EXPECT_EQ(rows[1].local, "127.0.0.1:5000");
  EXPECT_EQ(rows[1].peer, "127.0.0.1:40000");
  EXPECT_EQ(rows[1].state, "ESTABLISHED");
  EXPECT_EQ(rows[1].pid, 77);
}

TEST(Connections, OfTheBacklogHaveNoId) {
  const Rig rig;
  const auto rows = rig.join({socket(1, 5000, 0), socket(2, 5000, 0, TCP_TIME_WAIT),
                              socket(3, 5000, 9), socket(4, 6000, 0)});
  ASSERT_EQ(rows.size(), 1U) << "neither what has just been accepted nor what is not ours";
  EXPECT_FALSE(rows[0].id);
  EXPECT_EQ(rows[0].pid, 0);
  EXPECT_EQ(rows[0].service, "capture");
}

TEST(Connections, ThatTheKernelHasForgottenAreShownAsClosed) {
  Rig rig;
  rig.enter(0, 0, 1, 11);
  const auto rows = rig.join({});
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].state, "CLOSE");
  EXPECT_EQ(rows[0].peer, "10.0.0.1:99");
  EXPECT_EQ(rows[0].local, "*:5000");
}

TEST(Connections, ThatEndWhileWeLookAreNotShown) {
  Rig rig;
  ledger::Slot& ending = rig.enter(0, 0, 1, 11);
  ledger::Slot& replaced = rig.enter(0, 1, 2, 12);
  const auto rows = join_connections(
      rig.ports,
      [&] {
        ending.state = SlotState::kFree;
        replaced.cookie = 13;
        return std::vector<TcpSocket>();
      },
      kNow);
  EXPECT_TRUE(rows.empty());
}

TEST(Connections, ALedgerOfNonsenseIsOnlyWrong) {
  Rig rig;
  for (std::size_t i = 0; i < 8; ++i) {
    ledger::Slot& slot = rig.enter(0, i, ~std::uint64_t{0}, 5);
    slot.accepted_at = ~std::uint64_t{0};
    slot.peer.family = 0xffff;
  }
  rig.writers[0].counters().open = ~std::uint64_t{0};
  const auto rows = rig.join({});
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].age_s, 0U);
}

TEST(Connections, AreFilteredByPeer) {
  const auto left = [](const std::string& peer) {
    std::vector<ConnectionRow> rows(3);
    rows[0].peer = "10.0.0.1:80";
    rows[1].peer = "[::1]:80";
    rows[2].peer = "10.0.0.10:80";
    AdminOptions options;
    options.peer = peer;
    filter_connections(rows, options);
    std::string text;
    for (const ConnectionRow& row : rows) text += row.peer + " ";
    return text;
  };
  EXPECT_EQ(left(""), "10.0.0.1:80 [::1]:80 10.0.0.10:80 ");
  EXPECT_EQ(left("10.0.0.1"), "10.0.0.1:80 ");
  EXPECT_EQ(left("10.0.0.1:80"), "10.0.0.1:80 ");
  EXPECT_EQ(left("10.0.0.1:81"), "");
  EXPECT_EQ(left("::1"), "[::1]:80 ");
  EXPECT_EQ(left("[::1]:80"), "[::1]:80 ");
}

TEST(Connections, TableIsTheViewOfNetstat) {
  Rig rig;
  rig.enter(0, 0, 1, 11);
  const auto rows = rig.join({socket(11, 5000), socket(12, 5001, 0)});
  EXPECT_EQ(
      connections_table(rows, TableStyle::kTabs),
      "Proto\tRecv-Q\tSend-Q\tLocal Address\tForeign Address\tState\tPID/Program\tID\tService\t"
      "Bytes\tAge\n"
      "tcp\t3\t0\t127.0.0.1:5001\t127.0.0.1:40000\tESTABLISHED\t-\t-\tcapture\t0\t0 s\n"
      "tcp\t3\t0\t127.0.0.1:5000\t127.0.0.1:40000\tESTABLISHED\t77/stream-worker\t5000-1\t"
      "capture\t100\t7 s\n");
}

TEST(SockDiag, KnowsAConnectionWithItsCookieAndQueues) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    const UniqueFd listener = listen_on(address(host, 0), 5);
    const SocketAddress local = SocketAddress::local_of(listener.get());
    const UniqueFd client = connect_to(local);
    ASSERT_TRUE(test::wait_for(client.get(), POLLOUT));
    ASSERT_TRUE(test::wait_for(listener.get(), POLLIN));
    auto sockets = dump_tcp_sockets({local.port()});
    ASSERT_EQ(sockets.size(), 1U);
    EXPECT_EQ(sockets[0].inode, 0U) << "nobody has accepted it";
    const UniqueFd server =
        UniqueFd::adopt(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    test::send_all(client.get(), "hello");
    ASSERT_TRUE(test::wait_for(server.get(), POLLIN));
    sockets = dump_tcp_sockets({local.port()});
    ASSERT_EQ(sockets.size(), 1U);
    EXPECT_EQ(sockets[0].cookie, socket_cookie(server.get()));
    EXPECT_EQ(sockets[0].local, local);
    EXPECT_EQ(sockets[0].peer.to_string(), SocketAddress::local_of(client.get()).to_string());
    EXPECT_EQ(sockets[0].recv_q, 5U);
    EXPECT_NE(sockets[0].inode, 0U);
    EXPECT_STREQ(tcp_state_name(sockets[0].state), "ESTABLISHED");
  }
}

}  // namespace
}  // namespace serverd
