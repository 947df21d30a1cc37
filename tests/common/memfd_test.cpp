#include "common/os/memfd.h"

#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace serverd {
namespace {

constexpr int kSizeSeals = F_SEAL_GROW | F_SEAL_SHRINK;

TEST(SealedText, HoldsTheText) {
  const std::string text("with\0zero and\nline ends", 23);
  const UniqueFd fd = sealed_text("test", text);
  EXPECT_EQ(read_all(fd.get(), 1000), text);
  EXPECT_EQ(read_all(fd.get(), 1000), text) << "whatever the offset";
}

TEST(SealedText, MayBeEmpty) {
  const UniqueFd fd = sealed_text("test", "");
  EXPECT_EQ(read_all(fd.get(), 0), "");
}

TEST(SealedText, CannotBeChanged) {
  const UniqueFd fd = sealed_text("test", "text");
  EXPECT_EQ(::pwrite(fd.get(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd.get(), 0), -1);
  EXPECT_EQ(::ftruncate(fd.get(), 100), -1);
  EXPECT_EQ(::mmap(nullptr, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1) << "not even its seals";
}

TEST(SealedText, IsNotInheritedAndHasItsName) {
  const UniqueFd fd = sealed_text("config", "text");
  EXPECT_EQ(::fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  const auto link = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd.get()));
  EXPECT_EQ(link, "/memfd:config (deleted)");
}

TEST(SealedMemory, IsZeroAndCanBeWrittenButNotResized) {
  const UniqueFd fd = sealed_memory("test", 10'000);
  EXPECT_EQ(read_all(fd.get(), 10'000), std::string(10'000, '\0'));
  EXPECT_EQ(::pwrite(fd.get(), "x", 1, 9'999), 1);
  EXPECT_EQ(::pwrite(fd.get(), "x", 1, 10'000), -1);
  EXPECT_EQ(::ftruncate(fd.get(), 9'999), -1);
  EXPECT_EQ(::ftruncate(fd.get(), 10'001), -1);
}

TEST(HasSeals, AsksForAllOfThem) {
  const UniqueFd memory = sealed_memory("test", 1);
  EXPECT_TRUE(has_seals(memory.get(), kSizeSeals));
  EXPECT_FALSE(has_seals(memory.get(), kSizeSeals | F_SEAL_WRITE));
  EXPECT_TRUE(has_seals(sealed_text("test", "x").get(), kSizeSeals | F_SEAL_WRITE));
}

TEST(HasSeals, IsFalseForWhatIsNoMemfd) {
  const UniqueFd file = UniqueFd::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(has_seals(file.get(), F_SEAL_GROW));
  EXPECT_FALSE(has_seals(-1, F_SEAL_GROW));
}

TEST(ReadAll, ReadsFilesOfAnySizeUpToTheLimit) {
  const test::TempDir dir;
  const std::string text(100'000, 'x');
  test::write_file(dir / "file", text);
  const UniqueFd fd = UniqueFd::adopt(::open((dir / "file").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(read_all(fd.get(), text.size()), text) << "exactly the limit";
  try {
    read_all(fd.get(), text.size() - 1);
    FAIL() << "was read";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EFBIG);
  }
}

TEST(ReadAll, SaysWhatCannotBeRead) {
  EXPECT_THROW(read_all(-1, 10), std::system_error);
  const UniqueFd directory = UniqueFd::adopt(::open("/", O_RDONLY | O_CLOEXEC));
  EXPECT_THROW(read_all(directory.get(), 10), std::system_error);
}

TEST(Mapping, SharesWhatIsWritten) {
  const UniqueFd fd = sealed_memory("test", 4096);
  const Mapping writer(fd.get(), Mapping::Access::kReadWrite);
  const Mapping reader(fd.get(), Mapping::Access::kRead);
  EXPECT_EQ(reader.size(), 4096U);
  std::memcpy(writer.data(), "shared", 6);
  EXPECT_EQ(std::memcmp(reader.data(), "shared", 6), 0);
}

TEST(Mapping, OutlivesTheDescriptor) {
  UniqueFd fd = sealed_memory("test", 4096);
  const Mapping mapping(fd.get(), Mapping::Access::kReadWrite);
  fd.reset();
  std::memcpy(mapping.data(), "x", 1);
  EXPECT_EQ(*static_cast<const char*>(mapping.data()), 'x');
}

TEST(Mapping, CanBeMoved) {
  const UniqueFd first_fd = sealed_memory("test", 4096);
  const UniqueFd second_fd = sealed_memory("test", 8192);
  Mapping first(first_fd.get(), Mapping::Access::kReadWrite);
  void* const data = first.data();
  Mapping moved(std::move(first));
  EXPECT_EQ(moved.data(), data);
  Mapping assigned(second_fd.get(), Mapping::Access::kRead);
  assigned = std::move(moved);
  EXPECT_EQ(assigned.data(), data);
  EXPECT_EQ(assigned.size(), 4096U);
}

TEST(Mapping, OfNothingIsAnError) {
  const UniqueFd empty = sealed_memory("test", 0);
  EXPECT_THROW(Mapping(empty.get(), Mapping::Access::kRead), std::system_error);
  EXPECT_THROW(Mapping(-1, Mapping::Access::kRead), std::system_error);
}

TEST(Mapping, ForWritingNeedsWhatCanBeWritten) {
  const UniqueFd text = sealed_text("test", "x");
  EXPECT_NO_THROW(Mapping(text.get(), Mapping::Access::kRead));
  EXPECT_THROW(Mapping(text.get(), Mapping::Access::kReadWrite), std::system_error);
}

}  // namespace
}  // namespace serverd
