#include "supervisor/worker_channel.h"

#include "common/notify.h"
#include "common/os/error.h"
#include "common/os/socket.h"
#include "tests/support/in_child.h"
#include "tests/support/open_descriptors.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace serverd {
namespace {

using namespace std::chrono_literals;
using test::open_descriptors;

/// A datagram to `path`, with copies of `attached`. 0 or errno.
int send_to(const std::string& path, const std::string& text,
            const std::vector<int>& attached = {}) {
  const UniqueFd fd = UniqueFd::adopt(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  iovec part{const_cast<char*>(text.data()), text.size()};
  std::vector<char> control(CMSG_SPACE(attached.size() * sizeof(int)));
  msghdr header{};
  header.msg_name = &address;
  header.msg_namelen = sizeof address;
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!attached.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(attached.size() * sizeof(int));
    std::memcpy(CMSG_DATA(item), attached.data(), attached.size() * sizeof(int));
  }
  return ::sendmsg(fd.get(), &header, 0) < 0 ? errno : 0;
}

class WorkerChannelTest : public testing::Test {
 protected:
  /// What was heard since the last call.
  std::vector<std::string> heard() {
    loop_.run_once(0s);
    return std::exchange(heard_, {});
  }

  test::TempDir dir_;
  std::string path_ = dir_ / "notify";
  Loop loop_;
  std::vector<std::string> heard_;
  WorkerChannel channel_{
      loop_, path_, std::nullopt,
      [this](std::string_view lines, std::vector<UniqueFd>) { heard_.emplace_back(lines); }};
};

using Heard = std::vector<std::string>;

TEST_F(WorkerChannelTest, HearsTheExpectedSender) {
  channel_.expect(::getpid());
  ASSERT_EQ(send_to(path_, "READY=1\nSTATUS=serving"), 0);
  EXPECT_EQ(heard(), Heard{"READY=1\nSTATUS=serving"});
}

TEST_F(WorkerChannelTest, HearsNobodyBeforeSomebodyIsExpected) {
  ASSERT_EQ(send_to(path_, "READY=1"), 0);
  EXPECT_EQ(heard(), Heard{});
}

TEST_F(WorkerChannelTest, IgnoresEveryOtherProcess) {
  channel_.expect(::getpid());
  ASSERT_EQ(test::in_child([&] { return std::to_string(send_to(path_, "READY=1")); }), "0");
  ASSERT_EQ(send_to(path_, "ours"), 0);
  EXPECT_EQ(heard(), Heard{"ours"}) << "and goes on with the next message";
}

TEST_F(WorkerChannelTest, HearsAChildThatHasEnded) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader = UniqueFd::adopt(ends[0]);
  UniqueFd writer = UniqueFd::adopt(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(send_to(path_, "READY=1"));
  channel_.expect(child);
  writer.reset();
  char byte = 0;
  ASSERT_EQ(::read(reader.get(), &byte, 1), 0) << "it has ended, and is not reaped";
  channel_.receive();
  EXPECT_EQ(heard_, Heard{"READY=1"});
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST_F(WorkerChannelTest, ClosesDescriptorsThatAreAttached) {
  channel_.expect(::getpid());
  const std::size_t before = open_descriptors();
  ASSERT_EQ(send_to(path_, "one", {STDIN_FILENO, STDOUT_FILENO}), 0);
  ASSERT_EQ(send_to(path_, "full", std::vector<int>(253, STDIN_FILENO)), 0);
  EXPECT_EQ(heard(), (Heard{"one", "full"}));
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(WorkerChannelTest, ClosesDescriptorsOfStrangersToo) {
  channel_.expect(1);
  const std::size_t before = open_descriptors();
  ASSERT_EQ(send_to(path_, "", {STDIN_FILENO}), 0);
  EXPECT_EQ(heard(), Heard{});
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(WorkerChannelTest, TakesMessagesOf4096BytesAndIgnoresLongerOnes) {
  channel_.expect(::getpid());
  const std::string longest(4096, 'x');
  ASSERT_EQ(send_to(path_, longest + "x"), 0);
  ASSERT_EQ(send_to(path_, longest), 0);
  EXPECT_EQ(heard(), Heard{longest});
}

TEST_F(WorkerChannelTest, ClosesDescriptorsOfAMessageThatIsTooLong) {
  channel_.expect(::getpid());
  const std::size_t before = open_descriptors();
  ASSERT_EQ(send_to(path_, std::string(4097, 'x'), std::vector<int>(253, STDIN_FILENO)), 0);
  EXPECT_EQ(heard(), Heard{});
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(WorkerChannelTest, DescriptorsForWhichThereIsNoRoomCostNothing) {
  channel_.expect(::getpid());
  ASSERT_EQ(send_to(path_, "READY=1", std::vector<int>(253, STDIN_FILENO)), 0);
  EXPECT_EQ(test::in_child([&] {
              const std::size_t before = open_descriptors();
              rlimit limit{};
              check_call(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
              const rlimit none{0, limit.rlim_max};
              check_call(::setrlimit(RLIMIT_NOFILE, &none), "setrlimit");
              channel_.receive();
              check_call(::setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
              return open_descriptors() == before ? heard_.at(0) : "descriptors are left open";
            }),
            "READY=1")
      << "the message itself is heard";
}

TEST_F(WorkerChannelTest, BinaryGarbageIsNoMessageAndHarmless) {
  channel_.expect(::getpid());
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  for (const std::string& garbage :
       {every_byte, std::string(4096, '\0'), std::string(4096, '\n'), std::string("READY=1\0", 8),
        std::string("\0READY=1", 8), std::string("READY=1\r\n")}) {
    ASSERT_EQ(send_to(path_, garbage), 0);
    const Heard all = heard();
    EXPECT_EQ(all, Heard{garbage});
    for (const std::string& lines : all) EXPECT_FALSE(has_line(lines, "READY=1"));
  }
}

TEST_F(WorkerChannelTest, AnotherUserCannotEvenSend) {
  if (::geteuid() != 0) FAIL() << "only root can become another user";
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  const std::string denied = std::to_string(EACCES);
  EXPECT_EQ(test::in_child([&] {
              check_call(::setuid(65534), "setuid");
              return std::to_string(send_to(path_, "READY=1"));
            }),
            denied);
  EXPECT_EQ(heard(), Heard{});
}

TEST_F(WorkerChannelTest, TheWorkersUserCanSendAndIsStillOnlyHeardFromTheWorker) {
  if (::geteuid() != 0) FAIL() << "only root can become another user";
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  const std::string path = dir_ / "theirs";
  std::vector<std::string> said;
  WorkerChannel channel(loop_, path, 65534, [&](std::string_view lines, std::vector<UniqueFd>) {
    said.emplace_back(lines);
  });
  channel.expect(::getpid());
  EXPECT_EQ(test::in_child([&] {
              check_call(::setuid(65534), "setuid");
              return std::to_string(send_to(path, "READY=1"));
            }),
            "0");
  channel.receive();
  EXPECT_EQ(said, Heard{});
}

TEST_F(WorkerChannelTest, AMessageToAnOldGenerationsSocketIsNotTheNewOnes) {
  // The old worker is somebody else; its socket is still there until it is judged.
  channel_.expect(1);
  std::vector<std::string> said;
  WorkerChannel next(
      loop_, dir_ / "next", std::nullopt,
      [&](std::string_view lines, std::vector<UniqueFd>) { said.emplace_back(lines); });
  next.expect(::getpid());
  ASSERT_EQ(send_to(path_, "READY=1"), 0);
  EXPECT_EQ(heard(), Heard{}) << "the new worker is a stranger there";
  next.receive();
  EXPECT_EQ(said, Heard{});
}

TEST_F(WorkerChannelTest, NobodyIsReachedThroughAnOldGenerationsSocketWhenItIsGone) {
  const std::string path = dir_ / "old";
  auto old = std::make_unique<WorkerChannel>(loop_, path, std::nullopt,
                                             [](std::string_view, std::vector<UniqueFd>) {});
  ASSERT_EQ(::setenv("NOTIFY_SOCKET", path.c_str(), 1), 0);
  const Notifier notifier = Notifier::from_environment();
  ASSERT_TRUE(notifier.send("READY=1"));
  old.reset();
  channel_.expect(::getpid());
  EXPECT_FALSE(notifier.send("READY=1"));
  EXPECT_EQ(heard(), Heard{});
}

TEST_F(WorkerChannelTest, AnEmptyMessageIsHarmless) {
  channel_.expect(::getpid());
  ASSERT_EQ(send_to(path_, ""), 0);
  EXPECT_EQ(heard(), Heard{""});
}

TEST_F(WorkerChannelTest, IsForItsOwnerAlone) {
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_EQ(status.st_uid, ::geteuid());
  EXPECT_EQ(channel_.variable(), "NOTIFY_SOCKET=" + path_);
}

TEST_F(WorkerChannelTest, BelongsToTheWorkersUser) {
  if (::geteuid() != 0) FAIL() << "only root can give it away";
  const std::string path = dir_ / "theirs";
  const WorkerChannel channel(loop_, path, 65534, [](std::string_view, std::vector<UniqueFd>) {});
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 65534U);
}

TEST_F(WorkerChannelTest, LeavesWhatHasItsNameAloneAndIsRemovedAtTheEnd) {
  {
    const WorkerChannel other(loop_, path_, std::nullopt,
                              [](std::string_view, std::vector<UniqueFd>) {});
    EXPECT_EQ(other.path(), path_ + "-2");
    EXPECT_TRUE(std::filesystem::is_socket(other.path()));
  }
  EXPECT_FALSE(std::filesystem::exists(path_ + "-2"));
  channel_.expect(::getpid());
  ASSERT_EQ(send_to(path_, "READY=1"), 0);
  EXPECT_EQ(heard(), Heard{"READY=1"});
}

TEST_F(WorkerChannelTest, KnowsThePathOfASocketThatWasBoundBefore) {
  const WorkerChannel adopted(loop_, duplicate(channel_.fd()),
                              [](std::string_view, std::vector<UniqueFd>) {});
  EXPECT_EQ(adopted.variable(), "NOTIFY_SOCKET=" + path_);
}

TEST_F(WorkerChannelTest, APathThatIsTooLongIsNamed) {
  const std::string path = dir_ / std::string(120, 'x');
  try {
    const WorkerChannel channel(loop_, path, std::nullopt,
                                [](std::string_view, std::vector<UniqueFd>) {});
    FAIL() << "was bound";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENAMETOOLONG);
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
  }
}

TEST(HasLine, IsTrueForAWholeLineOnly) {
  EXPECT_TRUE(has_line("READY=1", "READY=1"));
  EXPECT_TRUE(has_line("READY=1\n", "READY=1"));
  EXPECT_TRUE(has_line("STATUS=x\nREADY=1\nMAINPID=1", "READY=1"));
  EXPECT_TRUE(has_line("STATUS=x\nREADY=1", "READY=1"));
  EXPECT_FALSE(has_line("", "READY=1"));
  EXPECT_FALSE(has_line("\n\n", "READY=1"));
  EXPECT_FALSE(has_line("READY=10", "READY=1"));
  EXPECT_FALSE(has_line("XREADY=1", "READY=1"));
  EXPECT_FALSE(has_line("STATUS=READY=1", "READY=1"));
  EXPECT_FALSE(has_line("READY=0", "READY=1"));
}

}  // namespace
}  // namespace serverd
