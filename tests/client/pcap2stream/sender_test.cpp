#include "client/pcap2stream/sender.h"

#include "tests/client/pcap2stream/listener.h"
#include "tests/client/pcap2stream/packets.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <future>

namespace serverd::pcap2stream {
namespace {

IpAddress host(std::uint8_t last) { return IpAddress::from_bytes(Buffer{10, 0, 0, last}); }

class SenderTest : public testing::Test {
 protected:
  Sender& make(std::uint16_t base_port, const std::string& server = "127.0.0.1") {
    return sender_.emplace(loop_, console_, Sender::Target{server, base_port}, timeouts_, limits_,
                           [this] { ++changes_; });
  }
  /// Turns the loop until `done`, at most 20 s; false if it never was.
  template <typename Done>
  bool turn_until(Done done) {
    const auto deadline = Clock::now() + std::chrono::seconds(20);
    while (!done() && Clock::now() < deadline) loop_.run_once(std::chrono::milliseconds(50));
    return done();
  }
  void open(std::uint8_t last) {
    sender_->open(host(last));
    ASSERT_TRUE(turn_until([this] { return sender_->ready(); }));
  }
  bool run_to_end() {
    sender_->finish();
    return turn_until([this] { return sender_->finished(); });
  }

  Loop loop_;
  Console console_;
  Timeouts timeouts_;
  Sender::Limits limits_;
  std::optional<Sender> sender_;
  int changes_ = 0;
};

TEST_F(SenderTest, SendsEachSourceToAPortOfItsOwn) {
  const std::uint16_t base = free_port_range(2);
  Listener first(base), second(static_cast<std::uint16_t>(base + 1));
  make(base);
  open(5);
  open(6);
  sender_->send(host(6), bytes_of("from six"));
  sender_->send(host(5), bytes_of("from five"));
  sender_->flush();
  auto five = std::async([&] { return read_to_end(first.accept().get()); });
  auto six = std::async([&] { return read_to_end(second.accept().get()); });
  EXPECT_TRUE(run_to_end());
  EXPECT_EQ(five.get(), "from five");
  EXPECT_EQ(six.get(), "from six");
  EXPECT_TRUE(sender_->intact());
  EXPECT_EQ(sender_->port_of(host(5)), base);
}

TEST_F(SenderTest, SaysWhatItConnectedTo) {
  Listener listener;
  make(listener.port());
  testing::internal::CaptureStdout();
  open(5);
  EXPECT_EQ(
      testing::internal::GetCapturedStdout(),
      fmt::format("New connection established for 10.0.0.5 to 127.0.0.1:{}\n", listener.port()));
}

TEST_F(SenderTest, ConnectsByIpv6) {
  Listener listener(0, "::1");
  make(listener.port(), "::1");
  open(5);
  sender_->send(host(5), bytes_of("six"));
  auto got = std::async([&] { return read_to_end(listener.accept().get()); });
  EXPECT_TRUE(run_to_end());
  EXPECT_EQ(got.get(), "six");
}

TEST_F(SenderTest, DoesNotUseUpAPortForAConnectionThatFails) {
  const std::uint16_t base = free_port_range(1);
  make(base);
  testing::internal::CaptureStderr();
  open(5);
  EXPECT_EQ(
      testing::internal::GetCapturedStderr(),
      fmt::format("Connection failed for 10.0.0.5 to 127.0.0.1:{}: Connection refused\n", base));
  EXPECT_FALSE(sender_->intact());
  EXPECT_FALSE(sender_->port_of(host(5)));
  sender_->send(host(5), bytes_of("nowhere"));

  Listener listener(base);
  open(6);
  sender_->send(host(6), bytes_of("here"));
  auto got = std::async([&] { return read_to_end(listener.accept().get()); });
  EXPECT_TRUE(run_to_end());
  EXPECT_EQ(got.get(), "here");
  EXPECT_EQ(sender_->port_of(host(6)), base);
}

TEST_F(SenderTest, GivesUpConnectingAfterItsDeadline) {
  timeouts_.connect = std::chrono::milliseconds(100);
  Listener listener;
  ASSERT_EQ(::listen(listener.fd(), 0), 0);
  // The backlog of 0 takes one connection; SYNs after it are dropped, as a dead host would.
  const auto address = SocketAddress::local_of(listener.fd());
  const UniqueFd one = connect_to(address), two = connect_to(address);
  make(listener.port());
  testing::internal::CaptureStderr();
  open(5);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("Connection timed out"), std::string::npos);
}

TEST_F(SenderTest, WaitsForASlowReader) {
  limits_.queue = 64 << 10;
  Listener listener;
  make(listener.port());
  open(5);
  UniqueFd reader = listener.accept();
  const Buffer chunk(64 << 10, 'x');
  std::size_t sent = 0;
  while (sender_->ready()) {
    sender_->send(host(5), chunk);
    sender_->flush();
    sent += chunk.size();
    ASSERT_LT(sent, std::size_t{64} << 20) << "no back-pressure";
  }
  for (int i = 0; i < 5; ++i) loop_.run_once(std::chrono::milliseconds(10));
  EXPECT_FALSE(sender_->ready()) << "nobody has read";
  auto got = std::async([&reader] {
    std::string all = read_to_end(reader.get());
    reader.reset();
    return all;
  });
  EXPECT_TRUE(turn_until([this] { return sender_->ready(); }));
  EXPECT_GT(changes_, 0);
  EXPECT_TRUE(run_to_end());
  EXPECT_EQ(got.get().size(), sent);
}

TEST_F(SenderTest, ReportsAReset) {
  Listener listener;
  make(listener.port());
  open(5);
  reset_connection(listener.accept());
  testing::internal::CaptureStderr();
  sender_->send(host(5), bytes_of("x"));
  EXPECT_TRUE(run_to_end());
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(said, fmt::format("Connection lost for 10.0.0.5 to 127.0.0.1:{}: {}\n", listener.port(),
                              "Connection reset by peer"));
  EXPECT_FALSE(sender_->intact());
}

TEST_F(SenderTest, ReportsAPeerThatClosesWithoutReadingAll) {
  Listener listener;
  make(listener.port());
  open(5);
  UniqueFd peer = listener.accept();
  const Buffer chunk(1 << 20, 'x');
  for (int i = 0; i < 20; ++i) sender_->send(host(5), chunk);
  peer.reset();
  EXPECT_TRUE(run_to_end());
  EXPECT_FALSE(sender_->intact());
}

TEST_F(SenderTest, GoesOnForTheOthersAfterAReset) {
  const std::uint16_t base = free_port_range(2);
  Listener first(base), second(static_cast<std::uint16_t>(base + 1));
  make(base);
  open(5);
  open(6);
  reset_connection(first.accept());
  for (int i = 0; i < 3; ++i) {
    sender_->send(host(5), bytes_of("lost"));
    sender_->send(host(6), bytes_of("kept"));
    sender_->flush();
  }
  auto got = std::async([&] { return read_to_end(second.accept().get()); });
  EXPECT_TRUE(run_to_end());
  EXPECT_EQ(got.get(), "keptkeptkept");
  EXPECT_FALSE(sender_->intact());
}

TEST_F(SenderTest, DiscardsWhatThePeerSays) {
  Listener listener;
  make(listener.port());
  open(5);
  const UniqueFd peer = listener.accept();
  ASSERT_EQ(::send(peer.get(), "hello\r\n", 7, 0), 7);
  sender_->send(host(5), bytes_of("data"));
  auto got = std::async([&] {
    std::string all = read_to_end(peer.get());
    ::shutdown(peer.get(), SHUT_RDWR);
    return all;
  });
  EXPECT_TRUE(run_to_end());
  EXPECT_EQ(got.get(), "data");
  EXPECT_TRUE(sender_->intact());
}

TEST_F(SenderTest, IsContentWithAcknowledgementsIfThePeerNeverCloses) {
  timeouts_.close = std::chrono::milliseconds(50);
  Listener listener;
  make(listener.port());
  open(5);
  const UniqueFd peer = listener.accept();
  sender_->send(host(5), bytes_of("data"));
  EXPECT_TRUE(run_to_end());
  EXPECT_TRUE(sender_->intact());
}

TEST_F(SenderTest, SendsOnWhenThePeerHasClosedItsOwnDirection) {
  Listener listener;
  make(listener.port());
  open(5);
  const UniqueFd peer = listener.accept();
  ::shutdown(peer.get(), SHUT_WR);
  for (int i = 0; i < 3; ++i) loop_.run_once(std::chrono::milliseconds(10));
  sender_->send(host(5), bytes_of("data"));
  EXPECT_TRUE(run_to_end());
  EXPECT_EQ(read_to_end(peer.get()), "data");
  EXPECT_TRUE(sender_->intact());
}

}  // namespace
}  // namespace serverd::pcap2stream
