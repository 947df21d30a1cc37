#include "common/log.h"

#include "common/journal.h"
#include "common/os/error.h"
#include "common/os/unique_fd.h"
#include "tests/support/fake_journal.h"
#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"

#include <climits>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <regex>
#include <string>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

using test::in_child;

/// Standard error as a pipe that is read only when the test says so. For use in a child.
class StderrPipe final {
 public:
  StderrPipe() {
    int ends[2];
    check_call(::pipe2(ends, O_CLOEXEC), "pipe2");
    reader_ = UniqueFd::adopt(ends[0]);
    const UniqueFd writer = UniqueFd::adopt(ends[1]);
    check_call(::dup2(writer.get(), STDERR_FILENO), "dup2");
    check_call(::fcntl(reader_.get(), F_SETFL, O_NONBLOCK), "O_NONBLOCK");
  }

  std::string read_all() const {
    std::string text;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(reader_.get(), buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(n));
    return text;
  }
  void close_reader() { reader_.reset(); }

 private:
  UniqueFd reader_;
};

std::size_t lines_in(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(Log, WritesTimeLevelAndText) {
  const std::string text = in_child([] {
    const StderrPipe pipe;
    log::configure(log::Level::kDebug, log::Target::kStderr);
    log::debug("port {}", 5000);
    log::info("b");
    log::warning("c");
    log::error("d");
    return pipe.read_all();
  });
  const std::string time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\\.\\d{3} ";
  EXPECT_TRUE(std::regex_match(text, std::regex(time + "debug: port 5000\n" + time + "info: b\n" +
                                                time + "warning: c\n" + time + "error: d\n")))
      << text;
}

TEST(Log, WritesPrioritiesForAServiceManager) {
  const std::string text = in_child([] {
    const StderrPipe pipe;
    log::configure(log::Level::kDebug, log::Target::kPrefixed);
    log::debug("a");
    log::info("b");
    log::warning("c");
    log::error("d");
    return pipe.read_all();
  });
  EXPECT_EQ(text, "<7>a\n<6>b\n<4>c\n<3>d\n");
}

TEST(Log, ChoosesPrioritiesWhenStderrIsTheJournal) {
  const auto log_with = [](bool is_journal) {
    return in_child([is_journal] {
      const StderrPipe pipe;
      struct stat status {};
      ::fstat(STDERR_FILENO, &status);
      const auto inode = status.st_ino + (is_journal ? 0 : 1);
      ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", status.st_dev, inode).c_str(), 1);
      log::configure(log::Level::kInfo, log::Target::kAuto);
      log::info("a");
      return pipe.read_all();
    });
  };
  EXPECT_EQ(log_with(true), "<6>a\n");
  EXPECT_NE(log_with(false), "<6>a\n");
}

TEST(Log, KeepsWhatIsBelowTheLevelToItself) {
  const std::string text = in_child([] {
    const StderrPipe pipe;
    log::configure(log::Level::kWarning, log::Target::kPrefixed);
    log::debug("a");
    log::info("b");
    log::warning("c");
    log::configure(log::Level::kError, log::Target::kPrefixed);
    log::warning("d");
    log::error("e");
    return pipe.read_all() + (log::enabled(log::Level::kWarning) ? "enabled" : "disabled");
  });
  EXPECT_EQ(text, "<4>c\n<3>e\ndisabled");
}

TEST(Log, StartsWithInfoAndAbove) {
  const std::string text = in_child([] {
    const StderrPipe pipe;
    log::debug("hidden");
    log::info("shown");
    return pipe.read_all();
  });
  EXPECT_EQ(lines_in(text), 1U) << text;
}

TEST(Log, FoldsLineEnds) {
  const std::string text = in_child([] {
    const StderrPipe pipe;
    log::configure(log::Level::kInfo, log::Target::kPrefixed);
    log::info("one\ntwo\r\n<0>three\rfour");
    return pipe.read_all();
  });
  EXPECT_EQ(text, "<6>one two  <0>three four\n");
}

TEST(Log, CutsALineThatAPipeWouldNotTakeWhole) {
  const std::string text = in_child([] {
    const StderrPipe pipe;
    log::configure(log::Level::kInfo, log::Target::kPrefixed);
    log::info("{}", std::string(100'000, 'x'));
    log::info("next");
    return pipe.read_all();
  });
  const std::string cut = "<6>" + std::string(PIPE_BUF - 7, 'x') + "...\n";
  EXPECT_EQ(text, cut + "<6>next\n");
}

TEST(Log, NeverBlocksAndSaysLaterHowManyLinesWereDropped) {
  constexpr int kLines = 10'000;
  const std::string text = in_child([] {
    const StderrPipe pipe;
    log::configure(log::Level::kInfo, log::Target::kPrefixed);
    for (int i = 0; i < kLines; ++i) log::info("line {} {}", i, std::string(100, 'x'));
    const std::size_t kept = lines_in(pipe.read_all());
    log::info("after");
    log::info("again");
    return fmt::format("{}\n{}", kept, pipe.read_all());
  });
  const int kept = std::atoi(text.c_str());
  EXPECT_GT(kept, 0);
  EXPECT_LT(kept, kLines);
  EXPECT_EQ(text, fmt::format("{}\n<4>{} log lines dropped: stderr is not being read\n"
                              "<6>after\n<6>again\n",
                              kept, kLines - kept));
}

TEST(Log, SurvivesAReaderThatIsGone) {
  EXPECT_EQ(in_child([] {
              ::signal(SIGPIPE, SIG_IGN);
              StderrPipe pipe;
              pipe.close_reader();
              for (int i = 0; i < 3; ++i) log::error("nobody reads this");
              return std::string("alive");
            }),
            "alive");
}

TEST(Log, SurvivesAClosedStderr) {
  EXPECT_EQ(in_child([] {
              ::close(STDERR_FILENO);
              log::error("nobody reads this");
              return std::string("alive");
            }),
            "alive");
}

TEST(Log, WritesToAFile) {
  const test::TempDir dir;
  in_child([&] {
    const UniqueFd file = UniqueFd::adopt(
        ::open((dir / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    ::dup2(file.get(), STDERR_FILENO);
    log::configure(log::Level::kInfo, log::Target::kPrefixed);
    log::info("one");
    log::info("two");
    return std::string();
  });
  EXPECT_EQ(test::file_content(dir / "log"), "<6>one\n<6>two\n");
}

/// What two lines give in the journal; only root may put one in its place.
std::string journal_after(const std::function<void(test::FakeJournal&)>& body) {
  return in_child([&] {
    check_call(::unshare(CLONE_NEWNS), "unshare");
    check_call(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "private mounts");
    check_call(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), "mount of /run");
    std::filesystem::create_directories("/run/systemd/journal");
    test::FakeJournal journal(Journal::kSocket);
    body(journal);
    std::string all;
    for (const std::string& entry : journal.entries()) all += entry + "\n";
    return all;
  });
}

TEST(Log, GivesTheJournalWhatAnEventIsAbout) {
  const std::string all = journal_after([](test::FakeJournal&) {
    log::configure(log::Level::kInfo, log::Target::kJournal);
    log::error("before");
    log::set_subject({.service = "capture", .port = 5000});
    log::info("one");
    log::warning({.peer = "[::1]:7", .connection = 3}, "two {}", 2);
    log::info({.service = "other", .port = 5001}, "three");
  });
  const std::string name = "SYSLOG_IDENTIFIER=common_tests\n";
  EXPECT_EQ(all, "MESSAGE=before\nPRIORITY=3\n" + name + "\nMESSAGE=one\nPRIORITY=6\n" + name +
                     "SERVICE=capture\nPORT=5000\n\nMESSAGE=two 2\nPRIORITY=4\n" + name +
                     "SERVICE=capture\nPORT=5000\nPEER=[::1]:7\nCONNECTION=3\n"
                     "\nMESSAGE=three\nPRIORITY=6\n" +
                     name + "SERVICE=other\nPORT=5001\n\n");
}

TEST(Log, SaysLaterHowManyLinesAJournalThatDoesNotReadHasMissed) {
  const std::string all = journal_after([](test::FakeJournal& journal) {
    log::configure(log::Level::kInfo, log::Target::kJournal);
    for (int i = 0; i < 100'000; ++i) log::info("line");
    const std::size_t taken = journal.entries().size();
    log::info("after {}", 100'000 - taken);
  });
  const auto at = all.find("MESSAGE=after ");
  ASSERT_NE(at, std::string::npos);
  const std::string count = all.substr(at + 14, all.find('\n', at) - at - 14);
  EXPECT_NE(count, "0");
  EXPECT_NE(all.find("MESSAGE=" + count +
                     " log lines dropped: the journal is not being read\nPRIORITY=4\n"),
            std::string::npos)
      << all.substr(all.size() - 500);
}

TEST(Log, SaysTheSameOnStandardErrorWhateverAnEventIsAbout) {
  EXPECT_EQ(in_child([] {
              const StderrPipe pipe;
              log::configure(log::Level::kInfo, log::Target::kPrefixed);
              log::set_subject({.service = "capture", .port = 5000});
              log::info({.peer = "[::1]:7", .connection = 3}, "text");
              return pipe.read_all();
            }),
            "<6>text\n");
}

TEST(Log, SurvivesAJournalThatIsNotThere) {
  EXPECT_EQ(in_child([] {
              log::configure(log::Level::kInfo, log::Target::kJournal);
              log::info("from a test of stream-serverd");
              return std::string("alive");
            }),
            "alive");
}

}  // namespace
}  // namespace serverd
