#include "supervisor/runtime_dir.h"

#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

using test::TempDir;

constexpr uid_t kNobody = 65534;

/// Not ours, whoever we are.
uid_t other_user() { return ::geteuid() == kNobody ? kNobody - 1 : kNobody; }

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

/// What an instance called "main" below `root` says when it cannot have its directory.
std::string refusal(const std::string& root) {
  try {
    const RuntimeDir directory(root, "main", std::nullopt);
    return "made";
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// The root that is chosen with these variables, as root or not.
std::string chosen(const std::string& option, std::vector<const char*> variables, uid_t user) {
  return test::in_child([&] {
    for (const char* name : {"STREAM_SERVERD_RUNTIME_DIR", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"})
      ::unsetenv(name);
    for (const char* variable : variables) ::putenv(const_cast<char*>(variable));
    if (user != ::geteuid() && ::setresuid(user, user, user) != 0) return std::string("setresuid");
    return runtime_root(option);
  });
}

constexpr char kOurs[] = "STREAM_SERVERD_RUNTIME_DIR=/ours";
constexpr char kSystemd[] = "RUNTIME_DIRECTORY=/run/first:/run/second";
constexpr char kXdg[] = "XDG_RUNTIME_DIR=/run/user/7";
constexpr char kEmpty[] = "STREAM_SERVERD_RUNTIME_DIR=";

TEST(RuntimeRoot, TheOptionIsStrongerThanAllVariables) {
  EXPECT_EQ(chosen("/option", {kOurs, kSystemd, kXdg}, ::geteuid()), "/option");
}

TEST(RuntimeRoot, OurVariableIsStrongerThanSystemds) {
  EXPECT_EQ(chosen("", {kOurs, kSystemd, kXdg}, ::geteuid()), "/ours");
}

TEST(RuntimeRoot, OfSeveralSystemdDirectoriesTheFirstIsOurs) {
  EXPECT_EQ(chosen("", {kSystemd, kXdg}, ::geteuid()), "/run/first");
}

TEST(RuntimeRoot, AnEmptyVariableIsNone) {
  EXPECT_EQ(chosen("", {kEmpty, kSystemd}, ::geteuid()), "/run/first");
}

TEST(RuntimeRoot, RootUsesRun) {
  if (::geteuid() != 0) FAIL() << "needs root";
  EXPECT_EQ(chosen("", {kXdg}, 0), "/run/stream-serverd");
}

TEST(RuntimeRoot, AUserHasOneInTheSession) {
  const uid_t user = ::geteuid() == 0 ? kNobody : ::geteuid();
  EXPECT_EQ(chosen("", {kXdg}, user), "/run/user/7/stream-serverd");
}

TEST(RuntimeRoot, AUserWithoutASessionHasOneInTmp) {
  const uid_t user = ::geteuid() == 0 ? kNobody : ::geteuid();
  EXPECT_EQ(chosen("", {}, user), "/tmp/stream-serverd-" + std::to_string(user));
}

TEST(RuntimeDir, IsMadeForUsAloneAndRemovedAtTheEnd) {
  const TempDir dir;
  {
    const RuntimeDir directory(dir / "root", "main", std::nullopt);
    EXPECT_EQ(directory.path(), dir / "root/main");
    EXPECT_EQ(mode_of(dir / "root"), 0700U);
    EXPECT_EQ(mode_of(dir / "root/main"), 0710U);
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "root/main"));
  EXPECT_TRUE(std::filesystem::exists(dir / "root")) << "others may be in it";
}

TEST(RuntimeDir, WorkersOfAnotherUserPassThrough) {
  const TempDir dir;
  const RuntimeDir directory(dir / "root", "main", other_user());
  EXPECT_EQ(mode_of(dir / "root"), 0755U);
  EXPECT_EQ(mode_of(dir / "root/main"), 0711U);
}

TEST(RuntimeDir, WorkersOfAnotherUserPassThroughARootThatWasMadeForUsAlone) {
  const TempDir dir;
  const RuntimeDir ours(dir / "root", "stream-5000", std::nullopt);
  const RuntimeDir theirs(dir / "root", "main", other_user());
  EXPECT_EQ(mode_of(dir / "root") & 0111, 0111U);
  EXPECT_EQ(mode_of(dir / "root/main"), 0711U);
  EXPECT_EQ(mode_of(dir / "root/stream-5000"), 0710U) << "this one stays closed";
}

TEST(RuntimeDir, AUmaskDoesNotShutWorkersOut) {
  const TempDir dir;
  const mode_t umask_before = ::umask(0077);
  const RuntimeDir directory(dir / "root", "main", other_user());
  ::umask(umask_before);
  EXPECT_EQ(mode_of(dir / "root") & 0111, 0111U);
  EXPECT_EQ(mode_of(dir / "root/main"), 0711U);
}

TEST(RuntimeDir, WorkersOfOurOwnUserNeedNoMore) {
  const TempDir dir;
  const RuntimeDir directory(dir / "root", "main", ::geteuid());
  EXPECT_EQ(mode_of(dir / "root/main"), 0710U);
}

TEST(RuntimeDir, LeftoversOfADeadInstanceAreRemoved) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "main/sub");
  test::write_file(dir / "main/control", "");
  test::write_file(dir / "main/sub/file", "");
  test::write_file(dir / "main/lock", "4711");
  test::write_file(dir / "outside", "kept");
  std::filesystem::create_symlink(dir.path(), dir / "main/link");
  const RuntimeDir directory(dir.path(), "main", std::nullopt);
  EXPECT_EQ(test::file_content(dir / "main/lock"), std::to_string(::getpid()));
  std::filesystem::remove(dir / "main/lock");
  EXPECT_TRUE(std::filesystem::is_empty(dir / "main"));
  EXPECT_EQ(test::file_content(dir / "outside"), "kept") << "links are not followed";
}

TEST(RuntimeDir, ALiveInstanceOfTheSameNameIsNamedWithItsPid) {
  const TempDir dir;
  const RuntimeDir directory(dir.path(), "main", std::nullopt);
  EXPECT_THROW(RuntimeDir(dir.path(), "main", std::nullopt), InstanceRunning);
  EXPECT_EQ(refusal(dir.path()), "instance 'main' is already running (pid " +
                                     std::to_string(::getpid()) + ", " + (dir / "main") + ")");
  EXPECT_TRUE(std::filesystem::exists(dir / "main/lock")) << "the live one keeps its files";
}

TEST(RuntimeDir, ALiveInstanceOfAnotherNameIsNoHindrance) {
  const TempDir dir;
  const RuntimeDir first(dir.path(), "main", std::nullopt);
  const RuntimeDir second(dir.path(), "other", std::nullopt);
  EXPECT_EQ(dir.names(), (std::vector<std::string>{"main", "other"}));
}

TEST(RuntimeDir, IsFreeAgainWhenItsInstanceWasKilled) {
  const TempDir dir;
  EXPECT_EQ(test::in_child([&]() -> std::string {
              const RuntimeDir directory(dir.path(), "main", std::nullopt);
              ::kill(::getpid(), SIGKILL);
              return "?";
            }),
            "died: Killed");
  EXPECT_TRUE(std::filesystem::exists(dir / "main/lock"));
  EXPECT_EQ(refusal(dir.path()), "made");
}

TEST(RuntimeDir, ADirectoryOfAnotherUserIsRefused) {
  if (::geteuid() != 0) FAIL() << "only root can make one";
  const TempDir dir;
  std::filesystem::create_directory(dir / "root");
  ASSERT_EQ(::chown((dir / "root").c_str(), kNobody, kNobody), 0);
  EXPECT_EQ(refusal(dir / "root"),
            (dir / "root") + " belongs to user 65534, not to us: Operation not permitted");
  std::filesystem::create_directory(dir / "main");
  ASSERT_EQ(::chown((dir / "main").c_str(), kNobody, kNobody), 0);
  EXPECT_EQ(refusal(dir.path()),
            (dir / "main") + " belongs to user 65534, not to us: Operation not permitted");
}

TEST(RuntimeDir, ALinkInThePlaceOfOurDirectoryIsRefused) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "elsewhere");
  test::write_file(dir / "elsewhere/file", "kept");
  std::filesystem::create_directory_symlink(dir / "elsewhere", dir / "main");
  EXPECT_EQ(refusal(dir.path()), (dir / "main") + ": Not a directory");
  EXPECT_EQ(test::file_content(dir / "elsewhere/file"), "kept");
}

TEST(RuntimeDir, AMissingParentIsNamed) {
  const TempDir dir;
  EXPECT_EQ(refusal(dir / "no/root"), "mkdir " + (dir / "no/root") + ": No such file or directory");
}

}  // namespace
}  // namespace serverd
