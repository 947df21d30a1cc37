#include "worker/sink.h"

#include "common/ledger.h"
#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

using ledger::FileState;
using Names = std::vector<std::string>;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class SinkTest : public testing::Test {
 protected:
  Sink make_sink() {
    return Sink(directory_, record_, [](unsigned attempt) {
      return "file" + (attempt == 0 ? "" : "-" + std::to_string(attempt));
    });
  }
  /// Writes and commits, as Intake does.
  static void put(Sink& sink, std::string_view text) {
    const Sink::Appended appended = sink.append(bytes_of(text));
    ASSERT_FALSE(appended.error) << appended.error.message();
    ASSERT_EQ(appended.bytes, text.size());
    sink.commit(sink.committed() + appended.bytes);
  }
  void record(const std::string& name, FileState state, std::uint64_t committed = 0) {
    record_.begin(name);
    record_.committed = committed;
    record_.state = state;
  }
  std::string recorded() const { return std::string(record_.file_name()); }

  test::TempDir dir_;
  OutputDirectory directory_{dir_.path()};
  ledger::FileRecord record_{};
};

TEST_F(SinkTest, CreatesAFileAndRecordsIt) {
  Sink sink = make_sink();
  EXPECT_FALSE(sink.open());
  EXPECT_EQ(dir_.names(), Names{"file"});
  EXPECT_EQ(recorded(), "file");
  EXPECT_EQ(record_.state, FileState::kOpen);
  EXPECT_EQ(sink.committed(), 0U);
  EXPECT_EQ(sink.path(), dir_ / "file");
}

TEST_F(SinkTest, NamesTheDirectoryWhileThereIsNoFile) {
  EXPECT_EQ(make_sink().path(), dir_.path());
}

TEST_F(SinkTest, NeverTouchesAnExistingFileAndTakesTheNextName) {
  test::write_file(dir_ / "file", "precious");
  test::write_file(dir_ / "file-1", "");  // empty ones are not ours either
  Sink sink = make_sink();
  EXPECT_FALSE(sink.open());
  put(sink, "new");
  EXPECT_EQ(test::file_content(dir_ / "file"), "precious");
  EXPECT_EQ(test::file_content(dir_ / "file-1"), "");
  EXPECT_EQ(test::file_content(dir_ / "file-2"), "new");
  EXPECT_EQ(recorded(), "file-2");
}

TEST_F(SinkTest, NeverFollowsALink) {
  std::filesystem::create_symlink(dir_ / "target", dir_ / "file");
  Sink sink = make_sink();
  EXPECT_FALSE(sink.open());
  put(sink, "new");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "target"));
  EXPECT_EQ(recorded(), "file-1");
}

TEST_F(SinkTest, WritesBehindTheCommittedLengthWithoutMovingIt) {
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  put(sink, "first ");
  EXPECT_EQ(sink.append(bytes_of("torn torn")).bytes, 9U);
  EXPECT_EQ(sink.committed(), 6U);
  put(sink, "second");
  EXPECT_EQ(test::file_content(dir_ / "file"), "first secondorn");
}

TEST_F(SinkTest, ReopensTheRecordedFileWhereItEnded) {
  {
    Sink sink = make_sink();
    ASSERT_FALSE(sink.open());
    put(sink, "before ");
  }
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  EXPECT_EQ(sink.committed(), 7U);
  put(sink, "after");
  EXPECT_EQ(test::file_content(dir_ / "file"), "before after");
  EXPECT_EQ(dir_.names(), Names{"file"});
}

TEST_F(SinkTest, AFileThatWasBeingCreatedIsAdoptedIfItIsEmpty) {
  test::write_file(dir_ / "half", "");
  record("half", FileState::kCreating);
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  put(sink, "bytes");
  EXPECT_EQ(test::file_content(dir_ / "half"), "bytes");
  EXPECT_EQ(record_.state, FileState::kOpen);
  EXPECT_EQ(dir_.names(), Names{"half"});
}

TEST_F(SinkTest, AFileThatWasBeingCreatedIsNotAdoptedIfItHasContent) {
  test::write_file(dir_ / "half", "of somebody else");
  record("half", FileState::kCreating);
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  put(sink, "bytes");
  EXPECT_EQ(test::file_content(dir_ / "half"), "of somebody else");
  EXPECT_EQ(recorded(), "file");
}

TEST_F(SinkTest, AFileThatWasBeingCreatedIsNotAdoptedIfItBelongsToAnotherUser) {
  if (::geteuid() != 0) FAIL() << "only root can make one";
  test::write_file(dir_ / "half", "");
  ASSERT_EQ(::chown((dir_ / "half").c_str(), 65534, 65534), 0);
  record("half", FileState::kCreating);
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  EXPECT_EQ(recorded(), "file");
}

TEST_F(SinkTest, AFileThatWasNeverCreatedIsCreated) {
  record("half", FileState::kCreating);
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  EXPECT_EQ(dir_.names(), Names{"file"});
}

TEST_F(SinkTest, ARecordedFileThatIsGoneIsFollowedByANewOneFromItsBeginning) {
  record("gone", FileState::kOpen, 1000);
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  EXPECT_EQ(sink.committed(), 0U);
  put(sink, "bytes");
  EXPECT_EQ(test::file_content(dir_ / "file"), "bytes");
}

TEST_F(SinkTest, ARecordedFileThatIsNoFileAnyMoreIsFollowedByANewOne) {
  std::filesystem::create_directory(dir_ / "directory");
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  test::write_file(dir_ / "target", "precious");
  std::filesystem::create_symlink(dir_ / "target", dir_ / "link");
  for (const char* name : {"directory", "fifo", "link"}) {
    record(name, FileState::kOpen, 3);
    Sink sink = make_sink();
    ASSERT_FALSE(sink.open()) << name;
    EXPECT_NE(recorded(), name);
    EXPECT_EQ(sink.committed(), 0U) << name;
  }
  EXPECT_EQ(test::file_content(dir_ / "target"), "precious");
}

TEST_F(SinkTest, ARecordedNameThatLeadsElsewhereIsNotFollowed) {
  const test::TempDir other;
  test::write_file(other / "victim", "precious");
  const std::string relative =
      "../" + std::filesystem::path(other.path()).filename().string() + "/victim";
  for (const std::string& name :
       {relative, other / "victim", std::string(".."), std::string(".")}) {
    record(name, FileState::kOpen);
    Sink sink = make_sink();
    ASSERT_FALSE(sink.open()) << name;
    EXPECT_NE(recorded(), name);
    EXPECT_FALSE(sink.cut_to(0)) << name;
  }
  EXPECT_EQ(test::file_content(other / "victim"), "precious");
}

TEST_F(SinkTest, CutsOffWhatWasTorn) {
  test::write_file(dir_ / "file", "committed and torn");
  record("file", FileState::kOpen, 9);
  Sink sink = make_sink();
  EXPECT_TRUE(sink.cut_to(9));
  EXPECT_EQ(test::file_content(dir_ / "file"), "committed");
  EXPECT_FALSE(sink.cut_to(9)) << "there is nothing more to cut";
}

TEST_F(SinkTest, CuttingNeverMakesAFileLonger) {
  test::write_file(dir_ / "file", "short");
  record("file", FileState::kOpen, 5);
  Sink sink = make_sink();
  EXPECT_FALSE(sink.cut_to(1000));
  EXPECT_FALSE(sink.cut_to(~std::uint64_t{0}));
  EXPECT_EQ(test::file_content(dir_ / "file"), "short");
}

TEST_F(SinkTest, TheNextFileIsAnotherOne) {
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  put(sink, "one");
  sink.next_file();
  EXPECT_EQ(dir_.names(), Names{"file"}) << "not before it is needed";
  ASSERT_FALSE(sink.open());
  EXPECT_EQ(sink.committed(), 0U);
  put(sink, "two");
  EXPECT_EQ(test::file_content(dir_ / "file"), "one");
  EXPECT_EQ(test::file_content(dir_ / "file-1"), "two");
}

TEST_F(SinkTest, AMissingDirectoryIsAnErrorUntilItIsThere) {
  OutputDirectory directory(dir_ / "later");
  Sink sink(directory, record_, [](unsigned) { return "file"; });
  EXPECT_EQ(sink.open().value(), ENOENT);
  EXPECT_EQ(record_.state, FileState::kNone);
  std::filesystem::create_directory(dir_ / "later");
  EXPECT_FALSE(sink.open());
}

TEST_F(SinkTest, ADirectoryThatWasReplacedIsFound) {
  std::filesystem::create_directory(dir_ / "out");
  OutputDirectory directory(dir_ / "out");
  Sink sink(directory, record_, [](unsigned) { return "file"; });
  ASSERT_FALSE(sink.open());
  sink.next_file();
  std::filesystem::remove_all(dir_ / "out");
  EXPECT_EQ(sink.open().value(), ENOENT) << "the old directory";
  std::filesystem::create_directory(dir_ / "out");
  EXPECT_FALSE(sink.open()) << "the path is followed again";
  EXPECT_TRUE(std::filesystem::exists(dir_ / "out/file"));
}

TEST_F(SinkTest, GivesUpWhenEveryNameIsTaken) {
  test::write_file(dir_ / "only", "taken");
  Sink sink(directory_, record_, [](unsigned) { return "only"; });
  EXPECT_EQ(sink.open().value(), EEXIST);
  EXPECT_EQ(record_.state, FileState::kNone);
  EXPECT_EQ(test::file_content(dir_ / "only"), "taken");
}

TEST_F(SinkTest, AShortWriteSaysHowMuchWasWrittenAndWhy) {
  // RLIMIT_FSIZE stands for a full disk: pwrite(2) writes up to the limit, then fails.
  const std::string said = test::in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10, 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Sink sink = make_sink();
    if (sink.open()) return std::string("not opened");
    const Sink::Appended first = sink.append(bytes_of("123456"));
    sink.commit(6);
    const Sink::Appended second = sink.append(bytes_of("789012345"));
    const Sink::Appended third = [&] {
      sink.commit(10);
      return sink.append(bytes_of("x"));
    }();
    return std::to_string(first.bytes) + "/" + std::to_string(first.error.value()) + " " +
           std::to_string(second.bytes) + "/" + second.error.message() + " " +
           std::to_string(third.bytes) + "/" + third.error.message();
  });
  EXPECT_EQ(said, "6/0 4/File too large 0/File too large");
  EXPECT_EQ(test::file_content(dir_ / "file"), "1234567890");
}

TEST_F(SinkTest, AnEmptyWriteIsNone) {
  Sink sink = make_sink();
  ASSERT_FALSE(sink.open());
  const Sink::Appended appended = sink.append({});
  EXPECT_EQ(appended.bytes, 0U);
  EXPECT_FALSE(appended.error);
}

}  // namespace
}  // namespace serverd
