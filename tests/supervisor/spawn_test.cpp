#include "supervisor/spawn.h"

#include "common/os/error.h"
#include "common/os/unique_fd.h"
#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace serverd {
namespace {

/// As the supervisor does, before anything else opens descriptors.
[[maybe_unused]] const bool kReserved = [] {
  reserve_handoff_numbers();
  return true;
}();

UniqueFd open_program(const char* path) {
  return UniqueFd::adopt(check_call(::open(path, O_PATH | O_CLOEXEC), std::string("open ") + path));
}

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;
};

Pipe make_pipe() {
  int ends[2];
  check_call(::pipe2(ends, O_CLOEXEC), "pipe2");
  return {UniqueFd::adopt(ends[0]), UniqueFd::adopt(ends[1])};
}

std::string read_to_end(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

int reap(pid_t pid) {
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

std::string target_of(int fd) {
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)).string();
}

/// The report of show_handoff, by key.
using Report = std::map<std::string, std::string>;

Report parse_report(const std::string& text) {
  Report report;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.find(' ');
    report[line.substr(0, space)] = line.substr(std::min(space, line.size() - 1) + 1);
  }
  return report;
}

class SpawnTest : public testing::Test {
 protected:
  /// Starts show_handoff with `request`'s descriptors and one for the report, and waits for its
  /// end.
  Report started(SpawnRequest request) {
    Pipe pipe = make_pipe();
    request.executable = program_.get();
    request.descriptors.push_back({"report", pipe.writer.get()});
    pid_ = spawn(request);
    pipe.writer.reset();
    Report report = parse_report(read_to_end(pipe.reader.get()));
    EXPECT_EQ(reap(pid_), 0);
    return report;
  }

  UniqueFd program_ = open_program(SHOW_HANDOFF);
  pid_t pid_ = 0;
};

SpawnRequest titled(const std::string& title) { return {-1, title, {}, {}, {}}; }

TEST_F(SpawnTest, GivesExactlyTheDescriptorsInOrder) {
  const Pipe first = make_pipe();
  const Pipe second = make_pipe();
  SpawnRequest request = titled("worker");
  request.descriptors = {{"listen", first.writer.get()},
                         {"config", second.writer.get()},
                         {"listen", first.reader.get()}};
  const Report report = started(request);
  EXPECT_EQ(report.at("fd3"), target_of(first.writer.get()) + " inherit");
  EXPECT_EQ(report.at("fd4"), target_of(second.writer.get()) + " inherit");
  EXPECT_EQ(report.at("fd5"), target_of(first.reader.get()) + " inherit");
  EXPECT_TRUE(report.contains("fd6")) << "the report itself";
  EXPECT_FALSE(report.contains("fd7"));
  EXPECT_EQ(report.at("LISTEN_FDS"), "4");
  EXPECT_EQ(report.at("LISTEN_FDNAMES"), "listen:config:listen:report");
  EXPECT_EQ(report.at("LISTEN_PID"), std::to_string(pid_));
}

TEST_F(SpawnTest, GivesNoOtherDescriptorHoweverManyWeHold) {
  const auto count = [](const Report& report) {
    return std::count_if(report.begin(), report.end(),
                         [](const auto& item) { return item.first.starts_with("fd"); });
  };
  std::vector<UniqueFd> held;
  for (int i = 0; i < 200; ++i)  // without CLOEXEC, as a careless library might
    held.push_back(UniqueFd::adopt(check_call(::open("/dev/zero", O_RDONLY), "open")));
  const Report report = started(titled("worker"));
  EXPECT_EQ(count(report), 4) << "0, 1, 2 and the report";
  for (const auto& [key, value] : report)
    EXPECT_EQ(value.find("/dev/zero"), std::string::npos) << key << " is " << value;
}

TEST_F(SpawnTest, DescriptorsWithLowNumbersArriveToo) {
  const Report report = parse_report(test::in_child([&] {
    // In the way of each other: the descriptors for 3 and 4 stand on 4 and 3.
    const Pipe pipe = make_pipe();
    const int zero = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
    const int full = ::open("/dev/full", O_RDONLY | O_CLOEXEC);
    ::dup3(zero, 4, O_CLOEXEC);
    ::dup3(full, 3, O_CLOEXEC);
    ::dup3(pipe.writer.get(), 5, O_CLOEXEC);
    const pid_t pid =
        spawn({program_.get(), "worker", {{"a", 4}, {"b", 3}, {"report", 5}}, {}, {}});
    reap(pid);
    char text[65536];
    const ssize_t n = ::read(pipe.reader.get(), text, sizeof text);
    return std::string(text, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  }));
  ASSERT_TRUE(report.contains("fd3"));
  EXPECT_EQ(report.at("fd3"), "/dev/zero inherit");
  EXPECT_EQ(report.at("fd4"), "/dev/full inherit");
  EXPECT_FALSE(report.contains("fd6"));
}

TEST_F(SpawnTest, OneDescriptorMayBeGivenTwice) {
  const Pipe pipe = make_pipe();
  SpawnRequest request = titled("worker");
  request.descriptors = {{"a", pipe.writer.get()}, {"b", pipe.writer.get()}};
  const Report report = started(request);
  EXPECT_EQ(report.at("fd3"), report.at("fd4"));
}

TEST_F(SpawnTest, GivesAsManyDescriptorsAsPromisedAndNoMore) {
  const Pipe pipe = make_pipe();
  SpawnRequest request = titled("worker");
  for (int i = 0; i < kMaxHandedDescriptors - 1; ++i)
    request.descriptors.push_back({"x", pipe.writer.get()});
  const Report report = started(request);
  EXPECT_EQ(report.at("LISTEN_FDS"), std::to_string(kMaxHandedDescriptors));
  EXPECT_TRUE(report.contains("fd" + std::to_string(2 + kMaxHandedDescriptors)));

  request.executable = program_.get();
  request.descriptors.resize(kMaxHandedDescriptors + 1, {"x", pipe.writer.get()});
  EXPECT_THROW(spawn(request), std::system_error);
}

TEST_F(SpawnTest, LeavesOurOwnDescriptorsAsTheyAre) {
  const Pipe pipe = make_pipe();
  SpawnRequest request = titled("worker");
  request.descriptors = {{"listen", pipe.writer.get()}};
  started(request);
  EXPECT_EQ(::fcntl(pipe.writer.get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(SpawnTest, TheTitleIsItsFirstArgument) {
  const std::string title = "stream-worker: stream 0.0.0.0:5000,[::]:5000";
  EXPECT_EQ(started(titled(title)).at("argv0"), title);
}

TEST_F(SpawnTest, IsInAProcessGroupOfItsOwn) {
  const Report report = started(titled("worker"));
  EXPECT_EQ(report.at("pid"), std::to_string(pid_));
  EXPECT_EQ(report.at("pgid"), std::to_string(pid_));
}

TEST_F(SpawnTest, StandardInputIsEmpty) {
  EXPECT_EQ(started(titled("worker")).at("fd0"), "/dev/null inherit");
}

TEST_F(SpawnTest, HasAnEmptySignalMaskAndTheDefaultSigpipe) {
  sigset_t ours;
  ::sigemptyset(&ours);
  for (const int signal : {SIGTERM, SIGCHLD, SIGUSR1, SIGHUP}) ::sigaddset(&ours, signal);
  sigset_t before;
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &ours, &before), 0);
  const auto handler = ::signal(SIGPIPE, SIG_IGN);
  const Report report = started(titled("worker"));
  ::signal(SIGPIPE, handler);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(report.at("blocked"), "none");
  EXPECT_EQ(report.at("sigpipe"), "default");
}

TEST_F(SpawnTest, VariablesThatSpeakToUsAreNotPassedOn) {
  const char* ours[] = {"LISTEN_PID", "LISTEN_FDS",   "LISTEN_FDNAMES", "NOTIFY_SOCKET",
                        "MAINPID",    "WATCHDOG_PID", "WATCHDOG_USEC",  "SHOW_HANDOFF_KEPT"};
  for (const char* name : ours) ::setenv(name, "ours", 1);
  SpawnRequest request = titled("worker");
  request.variables = {"NOTIFY_SOCKET=/theirs"};
  const Report report = started(request);
  for (const char* name : ours) ::unsetenv(name);
  EXPECT_EQ(report.at("LISTEN_PID"), std::to_string(pid_));
  EXPECT_EQ(report.at("LISTEN_FDS"), "1");
  EXPECT_EQ(report.at("LISTEN_FDNAMES"), "report");
  EXPECT_EQ(report.at("NOTIFY_SOCKET"), "/theirs");
  EXPECT_EQ(report.at("WATCHDOG_USEC"), "unset");
  EXPECT_EQ(report.at("WATCHDOG_PID"), "unset");
  EXPECT_EQ(report.at("MAINPID"), "unset");
  EXPECT_EQ(report.at("SHOW_HANDOFF_KEPT"), "ours") << "the rest of our environment is";
}

TEST_F(SpawnTest, RunsAsTheUserWithItsGroups) {
  if (::geteuid() != 0) FAIL() << "only root can change the user";
  SpawnRequest request = titled("worker");
  request.user = UserIds{65534, 65533, {65533, 4242}};
  const Report report = started(request);
  EXPECT_EQ(report.at("uid"), "65534");
  EXPECT_EQ(report.at("capabilities"), "Inh:0 Prm:0 Eff:0 Amb:0 ");
  EXPECT_EQ(report.at("gid"), "65533");
  EXPECT_EQ(report.at("groups"), "4242 65533");
}

TEST_F(SpawnTest, KeepsTheCapabilityToCaptureAndNoOther) {
  if (::geteuid() != 0) FAIL() << "only root can change the user";
  SpawnRequest request = titled("worker");
  request.user = UserIds{65534, 65533, {}};
  request.net_raw = true;
  // CAP_NET_RAW is 13.
  EXPECT_EQ(started(std::move(request)).at("capabilities"), "Inh:8192 Prm:8192 Eff:8192 Amb:8192 ");
}

TEST_F(SpawnTest, AProgramThatCannotBeExecutedIsAnError) {
  const test::TempDir dir;
  test::write_file(dir / "program", "not a program\n");
  const UniqueFd plain = open_program((dir / "program").c_str());
  EXPECT_THROW(spawn({plain.get(), "worker", {}, {}, {}}), std::system_error) << "no mode for it";
  ASSERT_EQ(::chmod((dir / "program").c_str(), 0755), 0);
  try {
    spawn({plain.get(), "stream-worker: 5000", {}, {}, {}});
    FAIL() << "was started";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOEXEC);
    EXPECT_NE(std::string(error.what()).find("stream-worker: 5000"), std::string::npos)
        << error.what();
  }
  while (::waitpid(-1, nullptr, 0) > 0) continue;  // what may be left of the attempts
}

TEST_F(SpawnTest, ADescriptorThatIsNotOpenIsAnError) {
  EXPECT_THROW(spawn({program_.get(), "worker", {{"listen", 9999}}, {}, {}}), std::system_error);
}

TEST_F(SpawnTest, DiesOfSighupWhenItsParentDies) {
  // The grandchild comes to us when its parent is gone.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  Pipe pipe = make_pipe();
  const pid_t parent = ::fork();
  if (parent == 0) {
    spawn({program_.get(), "worker", {{"report", pipe.writer.get()}}, {"SHOW_HANDOFF_WAIT=1"}, {}});
    ::_exit(0);
  }
  pipe.writer.reset();
  const Report report = parse_report(read_to_end(pipe.reader.get()));
  EXPECT_EQ(reap(parent), 0);
  int status = 0;
  const pid_t reaped = ::waitpid(-1, &status, 0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  ASSERT_GT(reaped, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGHUP);
  // It may have died before it could write its report.
  EXPECT_TRUE(report.empty() || report.at("pid") == std::to_string(reaped)) << reaped;
}

TEST(ReserveHandoffNumbers, KeepsStandardDescriptorsOpenForWorkers) {
  // A daemon started with >&- 2>&-: nothing that a worker opens may become its standard error.
  const std::string report = test::in_child([] {
    const Pipe pipe = make_pipe();
    const UniqueFd program = open_program(SHOW_HANDOFF);
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
    reserve_handoff_numbers();
    reap(spawn({program.get(), "worker", {{"report", pipe.writer.get()}}, {}, {}}));
    char text[65536];
    const ssize_t n = ::read(pipe.reader.get(), text, sizeof text);
    return std::string(text, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  });
  const Report given = parse_report(report);
  for (const char* key : {"fd0", "fd1", "fd2"}) {
    ASSERT_TRUE(given.contains(key)) << key << " in:\n" << report;
    EXPECT_EQ(given.at(key), "/dev/null inherit");
  }
}

}  // namespace
}  // namespace serverd
