#include "common/os/memfd.h"
#include "tests/support/eventually.h"
#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"
#include "worker/monitor/line_output.h"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace serverd {
namespace {

/// Both ends of the smallest pipe there is, which takes PIPE_BUF bytes.
class LineOutputTest : public testing::Test {
 protected:
  LineOutputTest() {
    int ends[2];
    check_call(::pipe2(ends, O_CLOEXEC), "pipe2");
    reader_ = UniqueFd::adopt(ends[0]);
    writer_ = UniqueFd::adopt(ends[1]);
    check_call(::fcntl(writer_.get(), F_SETPIPE_SZ, 4096), "F_SETPIPE_SZ");
    output_ = LineOutput(writer_.get());
    // As in a worker, whose signals are blocked.
    ::signal(SIGPIPE, SIG_IGN);
  }

  /// What is in the pipe now.
  std::string read() const {
    std::string text(100'000, '\0');
    ::fcntl(reader_.get(), F_SETFL, O_NONBLOCK);
    const ssize_t n = ::read(reader_.get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  static std::string line(std::size_t size, char letter) {
    return std::string(size - 1, letter) + "\n";
  }

  UniqueFd reader_;
  UniqueFd writer_;
  LineOutput output_{-1};
};

TEST_F(LineOutputTest, WritesWhatFits) {
  EXPECT_TRUE(output_.write("one\n"));
  EXPECT_EQ(read(), "one\n");
  EXPECT_TRUE(output_.write("two\n"));
  EXPECT_EQ(read(), "two\n");
}

TEST_F(LineOutputTest, AFullPipeTakesNothingUntilItIsRead) {
  const std::string full = line(LineOutput::kMostAtOnce, 'f');
  ASSERT_TRUE(output_.write(full));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(output_.write("next\n"));
  EXPECT_EQ(read(), full);
  EXPECT_TRUE(output_.write("next\n"));
  EXPECT_EQ(read(), "next\n") << "once";
}

TEST_F(LineOutputTest, APipeWithTooLittleRoomTakesNothing) {
  ASSERT_TRUE(output_.write(line(100, 'a')));
  EXPECT_FALSE(output_.write(line(LineOutput::kMostAtOnce, 'b')));
  EXPECT_EQ(read(), line(100, 'a'));
}

TEST_F(LineOutputTest, WhatWaitsComesFirst) {
  const std::string full = line(LineOutput::kMostAtOnce, 'f');
  ASSERT_TRUE(output_.write(full));
  output_.write_later("waits\n");
  EXPECT_FALSE(output_.flush());
  EXPECT_FALSE(output_.write("after\n"));
  EXPECT_EQ(read(), full);
  EXPECT_FALSE(output_.write("after\n")) << "the room is needed";
  EXPECT_EQ(read(), "waits\n");
  EXPECT_TRUE(output_.write("after\n"));
  EXPECT_EQ(read(), "after\n");
  EXPECT_TRUE(output_.flush());
  EXPECT_EQ(read(), "");
}

TEST_F(LineOutputTest, ManyLinesThatWaitAreWrittenAsTheyFit) {
  ASSERT_TRUE(output_.write(line(LineOutput::kMostAtOnce, 'f')));
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    const std::string text = line(60, static_cast<char>('a' + i % 26));
    output_.write_later(text);
    expected += text;
  }
  read();
  std::string got;
  for (int i = 0; i < 10 && got.size() < expected.size(); ++i) {
    output_.flush();
    const std::string part = read();
    EXPECT_TRUE(part.ends_with('\n')) << "whole lines";
    got += part;
  }
  EXPECT_EQ(got, expected);
}

TEST_F(LineOutputTest, APipeThatNobodyReadsAnyMoreIsSaidOnceAndTakesNothing) {
  reader_.reset();
  testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(output_.write("lost?\n"));
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("standard output: Broken pipe"), std::string::npos) << log;
  EXPECT_EQ(log.find("Broken pipe"), log.rfind("Broken pipe")) << log;
}

TEST_F(LineOutputTest, AFullPipeThatNobodyReadsAnyMoreIsSaidToo) {
  ASSERT_TRUE(output_.write(line(LineOutput::kMostAtOnce, 'f')));
  reader_.reset();
  testing::internal::CaptureStderr();
  EXPECT_FALSE(output_.write("lost?\n"));
  EXPECT_NE(testing::internal::GetCapturedStderr().find("Broken pipe"), std::string::npos);
}

TEST_F(LineOutputTest, ManyWritersOfOnePipeNeverWaitForEachOther) {
  struct Shared {
    std::atomic<int> rounds[8];
  };
  const UniqueFd memory = sealed_memory("rounds", sizeof(Shared));
  const Mapping mapping(memory.get(), Mapping::Access::kReadWrite);
  auto& shared = *static_cast<Shared*>(mapping.data());
  std::vector<pid_t> writers;
  for (std::atomic<int>& rounds : shared.rounds) {
    const pid_t pid = check_call(::fork(), "fork");
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      // Of which a page holds only one.
      for (;; ++rounds) output_.write(line(3000, 'l'));
    }
    writers.push_back(pid);
  }
  // Room for one now and then, for which all of them try; then nobody reads any more.
  for (int i = 0; i < 300; ++i) {
    ::poll(nullptr, 0, 1);
    read();
  }
  ::poll(nullptr, 0, 50);
  for (std::size_t i = 0; i < writers.size(); ++i) {
    const int before = shared.rounds[i];
    EXPECT_TRUE(
        test::eventually([&] { return shared.rounds[i] > before; }, std::chrono::seconds(2)))
        << "writer " << i << " waits for somebody to read";
  }
  for (const pid_t pid : writers) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

TEST_F(LineOutputTest, ADescriptorThatIsNotOpenIsSaid) {
  LineOutput nothing(-1);
  EXPECT_FALSE(nothing.write("x\n")) << "poll(2) ignores it";
}

TEST(LineOutput, WhatWasWrittenInPartIsWrittenAgainWhole) {
  const test::TempDir dir;
  const std::string path = dir / "lines";
  EXPECT_EQ(test::in_child([&]() -> std::string {
              ::signal(SIGXFSZ, SIG_IGN);
              const UniqueFd file = UniqueFd::adopt(
                  ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
              LineOutput output(file.get());
              // A full disk.
              ::setrlimit(RLIMIT_FSIZE, std::make_unique<rlimit>(rlimit{4, RLIM_INFINITY}).get());
              const bool first = output.write("0123456789\n");
              ::setrlimit(RLIMIT_FSIZE,
                          std::make_unique<rlimit>(rlimit{RLIM_INFINITY, RLIM_INFINITY}).get());
              const bool second = output.write("0123456789\n");
              return std::string(first ? "written" : "not written") +
                     (second ? ", written" : ", not written");
            }),
            "not written, written");
  EXPECT_EQ(test::file_content(path), "01230123456789\n");
}

}  // namespace
}  // namespace serverd
