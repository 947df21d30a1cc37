#include "client/chat/pipe_console.h"

#include "common/os/error.h"
#include "common/os/unique_fd.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include <fcntl.h>
#include <unistd.h>

namespace serverd::chat {
namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    check_call(::pipe2(ends, O_CLOEXEC), "pipe");
    out = UniqueFd::adopt(ends[0]);
    in = UniqueFd::adopt(ends[1]);
  }
  void write(const std::string& text) const {
    EXPECT_EQ(::write(in.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  UniqueFd out;
  UniqueFd in;
};

bool never() { return false; }

TEST(ChatPipeConsole, GivesLinesAndTheLastOneWithoutItsEnd) {
  Pipe pipe;
  Loop loop;
  PipeConsole console(loop, pipe.out.get());
  pipe.write("HELO bob\r\n\nLEAVE");
  pipe.in.reset();
  EXPECT_EQ(console.next_line(never), "HELO bob");
  EXPECT_EQ(console.next_line(never), "");
  EXPECT_EQ(console.next_line(never), "LEAVE");
  EXPECT_EQ(console.next_line(never), std::nullopt);
  EXPECT_EQ(console.next_line(never), std::nullopt) << "once more";
}

TEST(ChatPipeConsole, TurnsTheLoopWhileItWaits) {
  Pipe pipe;
  Loop loop;
  PipeConsole console(loop, pipe.out.get());
  pipe.write("SEND");
  Timer timer(loop, [&] { pipe.write("MSG bob hi\n"); });
  timer.arm_in(std::chrono::milliseconds(10));
  EXPECT_EQ(console.next_line(never), "SENDMSG bob hi");
}

TEST(ChatPipeConsole, GivesUpWhenItIsTold) {
  const Pipe pipe;
  Loop loop;
  PipeConsole console(loop, pipe.out.get());
  bool over = false;
  Timer timer(loop, [&] { over = true; });
  timer.arm_in(std::chrono::milliseconds(10));
  EXPECT_EQ(console.next_line([&] { return over; }), std::nullopt);
}

TEST(ChatPipeConsole, ALineWithoutEndIsNotHeldAndTooLongForACommand) {
  Pipe pipe;
  Loop loop;
  PipeConsole console(loop, pipe.out.get());
  pipe.write(std::string(20'000, 'x') + "\nLEAVE\n");
  const auto line = console.next_line(never);
  ASSERT_TRUE(line);
  EXPECT_GT(line->size(), tsam::kLongestCommand);
  EXPECT_LT(line->size(), 2 * tsam::kLongestCommand);
  EXPECT_EQ(console.next_line(never), "LEAVE");
}

}  // namespace
}  // namespace serverd::chat
