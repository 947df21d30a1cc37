#include "worker/monitor/monitor_service.h"

#include "common/ledger.h"
#include "common/os/error.h"
#include "common/os/memfd.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include <fcntl.h>
#include <unistd.h>

namespace serverd {
namespace {

using ledger::Cause;
using ledger::Slot;

class MonitorTest : public testing::Test {
 protected:
  MonitorTest()
      : memory_(ledger::create(5000, "monitor", 4)),
        ledger_(memory_.get(), Mapping::Access::kReadWrite) {
    int ends[2];
    check_call(::pipe2(ends, O_CLOEXEC), "pipe2");
    reader_ = UniqueFd::adopt(ends[0]);
    writer_ = UniqueFd::adopt(ends[1]);
    ::fcntl(reader_.get(), F_SETFL, O_NONBLOCK);
    start_worker();
  }

  void start_worker() {
    ++ledger_.header().generation;
    service_ = std::make_unique<MonitorService>(ledger_, writer_.get());
  }

  /// `host` with port 33406, in slot 0.
  Slot& fill(const char* host = "127.0.0.1") {
    Slot& slot = ledger_.slots()[0];
    slot.peer = ledger::PeerAddress::from(*SocketAddress::from_host(host, 33406));
    for (ledger::Word& word : slot.protocol) word = 0;
    slot.state = ledger::SlotState::kOpen;
    return slot;
  }

  /// Shows the session what has arrived, as a connection does; it keeps what is left.
  Taken arrive(Session& session, const std::string& bytes, bool last = false) {
    waiting_ += bytes;
    const Taken taken = session.on_bytes(std::as_bytes(std::span(waiting_)), last);
    waiting_.erase(0, taken.protocol);
    EXPECT_EQ(taken.payload, 0U);
    return taken;
  }

  std::string shown() const {
    std::string text(1 << 20, '\0');
    const ssize_t n = ::read(reader_.get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  void fill_pipe() const {
    ::fcntl(writer_.get(), F_SETFL, O_NONBLOCK);
    const std::string page(4096, 'f');
    while (::write(writer_.get(), page.data(), page.size()) > 0) continue;
    ::fcntl(writer_.get(), F_SETFL, 0);
  }

  UniqueFd memory_;
  ledger::Ledger ledger_;
  UniqueFd reader_;
  UniqueFd writer_;
  std::unique_ptr<MonitorService> service_;
  std::string waiting_;
};

const std::string kEstablished = "Connection from ('127.0.0.1', 33406) established.\n";
const std::string kReceived = "Received from ('127.0.0.1', 33406): ";

TEST_F(MonitorTest, SaysWhereItListensOnceInAPortsLife) {
  const std::vector<SocketAddress> addresses = {*SocketAddress::from_host("0.0.0.0", 12345),
                                                *SocketAddress::from_host("::", 12345)};
  service_->on_serving(addresses);
  EXPECT_EQ(shown(), "Listening on 0.0.0.0:12345...\nListening on [::]:12345...\n");
  start_worker();
  service_->on_serving(addresses);
  EXPECT_EQ(shown(), "");
}

TEST_F(MonitorTest, ShowsAConnectionFromItsBeginningToItsEnd) {
  const auto session = service_->open(fill());
  EXPECT_EQ(shown(), kEstablished);
  EXPECT_EQ(arrive(*session, "hello\nyou\n").protocol, 10U);
  EXPECT_EQ(shown(), kReceived + "hello\n" + kReceived + "you\n");
  session->on_end(Cause::kEof, {});
  EXPECT_EQ(shown(), "Connection from ('127.0.0.1', 33406) closed.\n");
}

TEST_F(MonitorTest, SaysHowAConnectionEnded) {
  const auto session = service_->open(fill("::1"));
  EXPECT_EQ(shown(), "Connection from ('::1', 33406) established.\n");
  session->on_end(Cause::kReset, std::make_error_code(std::errc::connection_reset));
  EXPECT_EQ(shown(), "Connection from ('::1', 33406) failed: Connection reset by peer.\n");
  session->on_end(Cause::kIdle, {});
  EXPECT_EQ(shown(), "Connection from ('::1', 33406) ended: nothing came for too long.\n");
  session->on_end(Cause::kStopped, {});
  EXPECT_EQ(shown(), "Connection from ('::1', 33406) ended by the server.\n");
}

TEST_F(MonitorTest, SaysThatAConnectionBeganThoughTheWorkerDiedJustThen) {
  Slot& slot = fill();
  start_worker();
  const auto session = service_->resume(slot);
  EXPECT_EQ(shown(), kEstablished);
}

TEST_F(MonitorTest, SaysOnlyOnceThatAConnectionBegan) {
  Slot& slot = fill();
  service_->open(slot);
  EXPECT_EQ(shown(), kEstablished);
  start_worker();
  service_->resume(slot);
  EXPECT_EQ(shown(), "");
}

TEST_F(MonitorTest, LeavesWhatMayBeTheFirstPartOfACharacterOrLineEnd) {
  const auto session = service_->open(fill());
  shown();
  EXPECT_EQ(arrive(*session, "caf\xC3").protocol, 3U);
  EXPECT_EQ(arrive(*session, "\xA9\r").protocol, 2U);
  EXPECT_EQ(arrive(*session, "\n").protocol, 2U);
  EXPECT_EQ(shown(), kReceived + "caf\n" + kReceived + "é\n")
      << "and no empty line for the end of one that was shown";
}

TEST_F(MonitorTest, ShowsEverythingThatIsLast) {
  const auto session = service_->open(fill());
  shown();
  EXPECT_EQ(arrive(*session, "end\xE2\x82", true).protocol, 5U);
  EXPECT_EQ(shown(), kReceived + "end\\xe2\\x82\n");
}

TEST_F(MonitorTest, AnEmptyLineIsALine) {
  const auto session = service_->open(fill());
  shown();
  arrive(*session, "\n\r\n");
  EXPECT_EQ(shown(), kReceived + "\n" + kReceived + "\n");
}

TEST_F(MonitorTest, TheLongestPieceFitsIntoOneWriteHoweverItIsEscaped) {
  const auto session = service_->open(fill("fe80::1234:5678:9abc:def0"));
  shown();
  for (const char byte : {'\0', '\xff', '\x80', 'x'}) {
    arrive(*session, std::string(5000, byte), true);
    std::istringstream lines(shown());
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LT(line.size(), LineOutput::kMostAtOnce);
      EXPECT_TRUE(line.starts_with("Received from ('fe80::1234:5678:9abc:def0', 33406): "));
    }
  }
  EXPECT_EQ(waiting_, "");
}

TEST_F(MonitorTest, ShowsALineOfAMebibyteInPieces) {
  const auto session = service_->open(fill());
  shown();
  waiting_ = std::string(1 << 20, 'y') + "\nnext\n";
  std::string all;
  while (!waiting_.empty()) {
    const Taken taken = arrive(*session, "");
    ASSERT_GT(taken.protocol, 0U);
    all += shown();
  }
  EXPECT_EQ(std::count(all.begin(), all.end(), 'y'), 1 << 20);
  EXPECT_TRUE(all.ends_with("y\n" + kReceived + "next\n"));
}

TEST_F(MonitorTest, WhatCannotBeShownNowStaysWithTheConnection) {
  const auto session = service_->open(fill());
  fill_pipe();
  const Taken taken = arrive(*session, "one\ntwo\n");
  EXPECT_EQ(taken.protocol, 0U);
  EXPECT_TRUE(taken.blocked);
  EXPECT_TRUE(service_->retry() == std::error_code()) << "nothing of the service's own waits";
  shown();
  EXPECT_EQ(arrive(*session, "").protocol, 8U);
  EXPECT_EQ(shown(), kReceived + "one\n" + kReceived + "two\n");
}

TEST_F(MonitorTest, WhatHappensWhileThereIsNoRoomIsSaidLaterInItsOrder) {
  fill_pipe();
  const auto session = service_->open(fill());
  EXPECT_TRUE(service_->waits());
  EXPECT_TRUE(static_cast<bool>(service_->retry()));
  EXPECT_TRUE(arrive(*session, "hello\n").blocked);
  shown();
  EXPECT_FALSE(static_cast<bool>(service_->retry()));
  EXPECT_FALSE(service_->waits());
  arrive(*session, "");
  EXPECT_EQ(shown(), kEstablished + kReceived + "hello\n");
}

}  // namespace
}  // namespace serverd
