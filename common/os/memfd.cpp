#include "common/os/memfd.h"

#include "common/os/error.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace serverd {
namespace {

UniqueFd new_memfd(const char* name) {
  return UniqueFd::adopt(check_call(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING),
                                    std::string("memfd_create ") + name));
}

std::size_t size_of(int fd) {
  struct stat status {};
  check_call(::fstat(fd, &status), "fstat of descriptor " + std::to_string(fd));
  return static_cast<std::size_t>(status.st_size);
}

}  // namespace

UniqueFd sealed_text(const char* name, std::string_view text) {
  UniqueFd fd = new_memfd(name);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd.get(), text.data() + done, text.size() - done);
    if (n < 0) throw_system_error(errno, std::string("write to memfd ") + name);
    done += static_cast<std::size_t>(n);
  }
  check_call(
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL),
      std::string("seal memfd ") + name);
  return fd;
}

UniqueFd sealed_memory(const char* name, std::size_t size) {
  UniqueFd fd = new_memfd(name);
  check_call(::ftruncate(fd.get(), static_cast<off_t>(size)),
             std::string("ftruncate of memfd ") + name);
  // Whoever is given a read-only descriptor must not open it anew for writing through /proc.
  check_call(::fchmod(fd.get(), 0600), std::string("fchmod of memfd ") + name);
  check_call(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL),
             std::string("seal memfd ") + name);
  return fd;
}

bool has_seals(int fd, int seals) noexcept {
  const int have = ::fcntl(fd, F_GET_SEALS);
  return have >= 0 && (have & seals) == seals;
}

std::string read_all(int fd, std::size_t limit) {
  const std::string what = "read of descriptor " + std::to_string(fd);
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_system_error(errno, what);
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > limit) throw_system_error(EFBIG, what);
  }
}

Mapping::Mapping(int fd, Access access) : size_(size_of(fd)) {
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* mapped = ::mmap(nullptr, size_, protection, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) throw_system_error(errno, "mmap of descriptor " + std::to_string(fd));
  data_ = mapped;
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace serverd
