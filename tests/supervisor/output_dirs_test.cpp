#include "supervisor/output_dirs.h"

#include "supervisor/start_failure.h"
#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <string>

#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

using test::TempDir;

constexpr uid_t kNobody = 65534;

ServiceConfig service_with(const std::string& output) {
  ServiceConfig service;
  service.name = "capture";
  service.protocol = StreamConfig{output, false};
  return service;
}

/// "made", or the exit code and the text of the failure.
std::string prepared(const std::string& output, const std::optional<UserIds>& user = {},
                     SandboxMode sandbox = SandboxMode::kOn) {
  try {
    prepare_output(service_with(output), user, sandbox);
    return "made";
  } catch (const StartFailure& failure) {
    return std::to_string(failure.code()) + ": " + failure.what();
  }
}

struct stat status_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status;
}

TEST(OutputDirs, AreMadeWithTheirParents) {
  const TempDir dir;
  EXPECT_EQ(prepared(dir / "a/b/c"), "made");
  EXPECT_TRUE(std::filesystem::is_directory(dir / "a/b/c"));
}

TEST(OutputDirs, MayExist) {
  const TempDir dir;
  test::write_file(dir / "kept", "content");
  EXPECT_EQ(prepared(dir.path()), "made");
  EXPECT_EQ(test::file_content(dir / "kept"), "content");
}

TEST(OutputDirs, AFileInTheWayIsNamed) {
  const TempDir dir;
  test::write_file(dir / "file", "");
  EXPECT_EQ(prepared(dir / "file"),
            "73: service capture: output directory " + (dir / "file") + ": Not a directory");
  EXPECT_EQ(prepared(dir / "file/below"),
            "73: service capture: output directory " + (dir / "file/below") + ": Not a directory");
}

TEST(OutputDirs, OneThatCannotBeWrittenIsNamed) {
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0555), 0);
  const std::string said = test::in_child([&] {
    // Root may write anywhere.
    if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) return std::string("?");
    return prepared(dir.path());
  });
  EXPECT_EQ(said, "73: service capture: output directory " + dir.path() + ": Permission denied");
}

class OutputDirsForUser : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) FAIL() << "only root can give workers another user";
    // Others pass through the directories of the tests.
    ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  }

  TempDir dir_;
  UserIds nobody_{kNobody, kNobody, {}};
};

TEST_F(OutputDirsForUser, BelongToTheWorkersUserWhenMade) {
  EXPECT_EQ(prepared(dir_ / "new/deep", nobody_), "made");
  EXPECT_EQ(status_of(dir_ / "new/deep").st_uid, kNobody);
  EXPECT_EQ(status_of(dir_ / "new/deep").st_gid, kNobody);
}

TEST_F(OutputDirsForUser, BelongToTheWorkersUserHoweverTheyAreSpelled) {
  EXPECT_EQ(prepared(dir_ / "slash/", nobody_), "made");
  EXPECT_EQ(status_of(dir_ / "slash").st_uid, kNobody);
}

TEST_F(OutputDirsForUser, KeepTheirOwnerWhenTheyExist) {
  EXPECT_EQ(prepared(dir_.path(), nobody_),
            "73: service capture: output directory " + dir_.path() + ": Permission denied");
  EXPECT_EQ(status_of(dir_.path()).st_uid, 0U);
  EXPECT_EQ(::geteuid(), 0U) << "we are ourselves again";
  EXPECT_EQ(::getegid(), 0U);
}

TEST_F(OutputDirsForUser, OfOthersAreOfNoUseToRootInASandbox) {
  const std::string directory = dir_ / "of-nobody";
  EXPECT_EQ(prepared(directory, nobody_), "made");
  EXPECT_EQ(prepared(directory, {}, SandboxMode::kOff), "made");
  for (const SandboxMode mode : {SandboxMode::kOn, SandboxMode::kRequired})
    EXPECT_EQ(prepared(directory, {}, mode),
              "73: service capture: output directory " + directory +
                  ": Permission denied for a worker, which gives up its capabilities; give it to "
                  "the user that we run as, or set sandbox = \"off\"");
  EXPECT_EQ(prepared(directory, {}, SandboxMode::kOff), "made") << "our own are back";
}

}  // namespace
}  // namespace serverd
