#include "worker/sink.h"

#include "common/log.h"
#include "common/os/error.h"

#include <cerrno>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace serverd {
namespace {

constexpr unsigned kMaxNameAttempts = 10'000;

std::error_code last_error() noexcept { return {errno, std::generic_category()}; }

/// A name within the directory: what a ledger holds need not be one.
bool is_file_name(std::string_view name) noexcept {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos;
}

/// openat(2) says that there is nothing under the name, or a directory, a link or a FIFO.
bool is_no_file(int error) noexcept {
  return error == ENOENT || error == EISDIR || error == ELOOP || error == ENXIO;
}

/// A recorded file is ours if it is a file; one that was recorded as being created, if it is also
/// empty and belongs to us.
bool is_ours(int fd, bool creating) noexcept {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  return !creating || (status.st_size == 0 && status.st_uid == ::geteuid());
}

}  // namespace

std::error_code Sink::open() noexcept {
  if (fd_) return {};
  std::error_code error;
  const int directory = directory_.descriptor(error);
  if (error) return error;
  if (record_.state.load(std::memory_order_acquire) != ledger::FileState::kNone) {
    error = open_recorded(directory);
    if (fd_ || error) return error;
  }
  error = create(directory);
  // A directory that was removed and made again is another one; follow the path next time.
  if (error) directory_.refresh();
  return error;
}

/// Success without an open file: the recorded one is gone, a new one is due.
std::error_code Sink::open_recorded(int directory) noexcept {
  const std::string name(record_.file_name());
  if (!is_file_name(name)) {
    log::error("The ledger names an impossible output file '{}'; going on with a new one", name);
    return {};
  }
  // Not blocking, as a FIFO under that name would.
  UniqueFd fd = UniqueFd::adopt(
      ::openat(directory, name.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  const bool creating = record_.state.load() == ledger::FileState::kCreating;
  if (!fd && !is_no_file(errno)) return last_error();
  if (!fd || !is_ours(fd.get(), creating)) {
    if (!creating) log::warning("{} is gone; going on with a new file", path());
    return {};
  }
  record_.state.store(ledger::FileState::kOpen, std::memory_order_release);
  fd_ = std::move(fd);
  return {};
}

std::error_code Sink::create(int directory) noexcept {
  for (unsigned attempt = 0; attempt < kMaxNameAttempts; ++attempt) {
    const std::string name = namer_(attempt);
    record_.begin(name);
    if (existing_ == Existing::kReplaced) ::unlinkat(directory, name.c_str(), 0);
    fd_ = UniqueFd::adopt(
        ::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (fd_) {
      record_.state.store(ledger::FileState::kOpen, std::memory_order_release);
      log::info("Created output file: {}", path());
      return {};
    }
    if (errno != EEXIST) break;
  }
  const std::error_code error = last_error();
  record_.state.store(ledger::FileState::kNone, std::memory_order_release);
  return error;
}

Sink::Appended Sink::append(std::span<const std::byte> bytes) noexcept {
  const auto offset = static_cast<off_t>(committed());
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::pwrite(fd_.get(), bytes.data() + done, bytes.size() - done,
                               offset + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return {done, last_error()};
    done += static_cast<std::size_t>(n);
  }
  return {done, {}};
}

bool Sink::cut_to(std::uint64_t length) noexcept {
  if (const std::error_code error = open()) {
    log::error("{}: cannot be opened to cut a torn write off at {}: {}", path(), length,
               error.message());
    return false;
  }
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0 || static_cast<std::uint64_t>(status.st_size) <= length)
    return false;
  if (::ftruncate(fd_.get(), static_cast<off_t>(length)) == 0) return true;
  log::error("{}: cannot cut a torn write off at {}: {}", path(), length, error_text(errno));
  return false;
}

std::error_code Sink::replace_content(std::string_view content) noexcept {
  if (const std::error_code error = open()) return error;
  commit(0);
  if (::ftruncate(fd_.get(), 0) != 0) return last_error();
  const Appended appended = append(std::as_bytes(std::span(content)));
  commit(appended.bytes);
  return appended.error;
}

void Sink::next_file() noexcept {
  fd_.reset();
  record_.state.store(ledger::FileState::kNone, std::memory_order_release);
}

std::string Sink::path() const {
  const std::string_view name = record_.file_name();
  return name.empty() ? directory_.path() : directory_.path() + "/" + std::string(name);
}

}  // namespace serverd
