#include "supervisor/control.h"

#include "common/os/error.h"
#include "common/os/memfd.h"
#include "common/os/unix_socket.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

using namespace std::chrono_literals;

class ControlTest : public testing::Test {
 protected:
  ControlTest() { open({}); }

  void open(const Control::Limits& limits) {
    control_.reset();
    control_.emplace(
        loop_, path_,
        [this](std::string_view line, const ControlPeer& peer) {
          asked_.emplace_back(line);
          peer_ = peer;
          if (line == "big") return ControlReply{std::string(8 << 20, 'x')};
          if (line == "descriptor") {
            ControlReply reply{"here"};
            reply.descriptors.push_back(sealed_text("test", "content"));
            return reply;
          }
          return ControlReply{"<" + std::string(line) + ">"};
        },
        limits);
  }

  UniqueFd connect() const {
    const sockaddr_un address = unix_address(path_);
    UniqueFd fd = UniqueFd::adopt(
        check_call(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"));
    check_call(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
               "connect");
    return fd;
  }

  static void send(const UniqueFd& fd, const std::string& bytes) {
    EXPECT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  void turns(int count = 10) {
    while (count-- > 0) loop_.run_once(0s);
  }

  /// What has come; "(closed)" behind it if that is all that will.
  std::string received(const UniqueFd& fd) {
    std::string text;
    char bytes[65536];
    for (;;) {
      const ssize_t n = ::recv(fd.get(), bytes, sizeof bytes, 0);
      if (n == 0) return text + "(closed)";
      if (n < 0) return errno == EAGAIN ? text : text + "(reset)";
      text.append(bytes, static_cast<std::size_t>(n));
      turns(1);
    }
  }

  test::TempDir dir_;
  std::string path_ = dir_ / "control.sock";
  Loop loop_;
  std::vector<std::string> asked_;
  ControlPeer peer_;
  std::optional<Control> control_;
};

TEST_F(ControlTest, TheFileModeDecidesWhoMay) {
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0660U);
}

TEST_F(ControlTest, AnswersEachLineAndKnowsWhoAsks) {
  const UniqueFd client = connect();
  send(client, "one\ntwo\r\n\nthr");
  turns();
  EXPECT_EQ(received(client), "<one>\n<two>\n");
  send(client, "ee\n");
  turns();
  EXPECT_EQ(received(client), "<three>\n");
  EXPECT_EQ(peer_.pid, ::getpid());
  EXPECT_EQ(peer_.uid, ::geteuid());
}

TEST_F(ControlTest, ALineMayEndWithTheStream) {
  const UniqueFd client = connect();
  send(client, "one\ntwo");
  ::shutdown(client.get(), SHUT_WR);
  turns();
  EXPECT_EQ(received(client), "<one>\n<two>\n(closed)");
  EXPECT_EQ(control_->clients(), 0U);
}

TEST_F(ControlTest, AnswersOneLineInATurnAndClientsTakeTurns) {
  const UniqueFd first = connect();
  const UniqueFd second = connect();
  turns();
  send(first, "1a\n1b\n1c\n");
  send(second, "2a\n2b\n");
  std::size_t most = 0;
  for (int i = 0; i < 10; ++i) {
    const std::size_t before = asked_.size();
    turns(1);
    most = std::max(most, asked_.size() - before);
  }
  EXPECT_EQ(most, 1U);
  EXPECT_EQ(asked_, (std::vector<std::string>{"1a", "2a", "1b", "2b", "1c"}));
}

TEST_F(ControlTest, ALongRequestIsRefusedAndTheClientClosed) {
  for (const char* end : {"", "\n"}) {
    const UniqueFd client = connect();
    send(client, "good\n" + std::string(50'000, 'x') + end);
    turns(20);
    send(client, "ignored\n");
    ::shutdown(client.get(), SHUT_WR);
    turns();
    EXPECT_EQ(received(client),
              "<good>\n{\"error\":\"a request has at most 4096 bytes\"}\n(closed)");
  }
  EXPECT_EQ(asked_, (std::vector<std::string>{"good", "good"}));
}

TEST_F(ControlTest, OneClientTooManyIsToldSo) {
  Control::Limits limits;
  limits.clients = 2;
  open(limits);
  const UniqueFd first = connect();
  UniqueFd second = connect();
  const UniqueFd third = connect();
  turns();
  EXPECT_EQ(received(third), "{\"error\":\"too many clients on the control socket\"}\n(closed)");
  second.reset();
  turns();
  const UniqueFd fourth = connect();
  for (const UniqueFd* client : {&first, &fourth}) {
    turns();
    send(*client, "x\n");
    turns();
    EXPECT_EQ(received(*client), "<x>\n");
  }
}

TEST_F(ControlTest, ASlowReaderHoldsUpNobodyAndIsClosedAtTheDeadline) {
  Control::Limits limits;
  limits.reply = 200ms;
  open(limits);
  const UniqueFd slow = connect();
  send(slow, "big\nnot read before that is taken\n");
  turns();
  const UniqueFd other = connect();
  send(other, "x\n");
  turns();
  EXPECT_EQ(received(other), "<x>\n");
  EXPECT_EQ(control_->clients(), 2U);
  const auto deadline = Clock::now() + 20s;
  while (control_->clients() == 2 && Clock::now() < deadline) loop_.run_once(1s);
  EXPECT_EQ(control_->clients(), 1U);
  EXPECT_EQ(asked_, (std::vector<std::string>{"big", "x"}));
}

TEST_F(ControlTest, ALargeReplyArrivesAsAWhole) {
  const UniqueFd client = connect();
  send(client, "big\nx\n");
  turns();
  std::string all;
  const auto deadline = Clock::now() + 20s;
  while (all.size() < (8U << 20) + 1 + 4 && Clock::now() < deadline) {
    turns(1);
    all += received(client);
  }
  EXPECT_TRUE(all == std::string(8 << 20, 'x') + "\n<x>\n") << all.size() << " bytes";
}

TEST_F(ControlTest, AnIdleClientIsClosed) {
  Control::Limits limits;
  limits.idle = 50ms;
  open(limits);
  const UniqueFd client = connect();
  send(client, "half a li");
  turns();
  const auto deadline = Clock::now() + 20s;
  while (control_->clients() == 1 && Clock::now() < deadline) loop_.run_once(1s);
  EXPECT_EQ(received(client), "(closed)");
}

TEST_F(ControlTest, DescriptorsComeWithTheirReply) {
  const UniqueFd client = connect();
  send(client, "descriptor\n");
  turns();
  char bytes[16];
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
  iovec part{bytes, sizeof bytes};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  ASSERT_EQ(::recvmsg(client.get(), &header, MSG_CMSG_CLOEXEC), 5);
  const cmsghdr* item = CMSG_FIRSTHDR(&header);
  ASSERT_NE(item, nullptr);
  int number = -1;
  std::memcpy(&number, CMSG_DATA(item), sizeof number);
  const UniqueFd fd = UniqueFd::adopt(number);
  EXPECT_EQ(read_all(fd.get(), 100), "content");
}

TEST_F(ControlTest, AClientThatGoesAwayLeavesNothing) {
  for (const char* said : {"", "half", "whole\n", "big\n"}) {
    UniqueFd client = connect();
    turns();
    if (*said != '\0') send(client, said);
    turns(1);
    client.reset();
    turns();
    EXPECT_EQ(control_->clients(), 0U) << said;
  }
}

TEST_F(ControlTest, WhatADeadInstanceLeftIsReplaced) {
  control_.reset();
  ASSERT_EQ(::access(path_.c_str(), F_OK), 0) << "the file stays";
  open({});
  const UniqueFd client = connect();
  send(client, "x\n");
  turns();
  EXPECT_EQ(received(client), "<x>\n");
}

TEST_F(ControlTest, GoesOnWithAListenerThatWasHandedOver) {
  UniqueFd listener = UniqueFd::adopt(::fcntl(control_->listener(), F_DUPFD_CLOEXEC, 0));
  control_.reset();
  const UniqueFd client = connect();
  send(client, "x\n");
  control_.emplace(
      loop_, std::move(listener),
      [](std::string_view line, const ControlPeer&) { return ControlReply{std::string(line)}; },
      Control::Limits());
  turns();
  EXPECT_EQ(received(client), "x\n");
}

}  // namespace
}  // namespace serverd
