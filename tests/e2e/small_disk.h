#pragma once

#include <filesystem>
#include <utility>

#include <sys/mount.h>

namespace serverd::test {

/// A small file system of the test's own. Mounting needs root, which CI has.
class SmallDisk final {
 public:
  explicit SmallDisk(std::filesystem::path path) : path_(std::move(path)) {
    std::filesystem::create_directory(path_);
    mounted_ = ::mount("tmpfs", path_.c_str(), "tmpfs", 0, kRoomy) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  bool become(unsigned long flags, const char* options) const {
    return ::mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | flags, options) == 0;
  }

  static constexpr const char* kRoomy = "size=50m,mode=0755";

 private:
  std::filesystem::path path_;
  bool mounted_;
};

}  // namespace serverd::test
