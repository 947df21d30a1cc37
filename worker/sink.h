#pragma once

#include "common/ledger.h"
#include "common/os/unique_fd.h"
#include "worker/output_directory.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace serverd {

/// An output file that only grows. Which file it is and how much of it counts stands in a
/// FileRecord of the ledger, so that a successor writes on where this process ended.
class Sink final {
 public:
  /// The file name to try, within the directory, shorter than ledger::kNameSize; `attempt` counts
  /// from 0 and grows while names are taken.
  using Namer = std::function<std::string(unsigned attempt)>;

  /// What happens to a file that has the name of a new one.
  enum class Existing {
    kKept,     ///< another name is tried
    kReplaced  ///< it is removed
  };

  /// `directory` and `record` must outlive the sink.
  Sink(OutputDirectory& directory, ledger::FileRecord& record, Namer namer,
       Existing existing = Existing::kKept)
      : directory_(directory), record_(record), namer_(std::move(namer)), existing_(existing) {}

  /// Makes sure that the file is open: the recorded one, else a new one. An existing file that is
  /// not recorded is never written to.
  std::error_code open() noexcept;

  struct Appended {
    std::size_t bytes;      ///< written, even when an error stopped it
    std::error_code error;  ///< why not all of it
  };
  /// Writes behind the committed length, which it does not move. The sink must be open.
  Appended append(std::span<const std::byte> bytes) noexcept;
  void commit(std::uint64_t length) noexcept {
    record_.committed.store(length, std::memory_order_release);
  }
  std::uint64_t committed() const noexcept {
    return record_.committed.load(std::memory_order_acquire);
  }

  /// True once a file was chosen.
  bool recorded() const noexcept {
    return record_.state.load(std::memory_order_acquire) != ledger::FileState::kNone;
  }

  /// Cuts off what a killed writer left behind `length`. True if there was anything; an error is
  /// said in the log.
  bool cut_to(std::uint64_t length) noexcept;

  /// Makes `content` all that the file holds; doing it again changes nothing.
  std::error_code replace_content(std::string_view content) noexcept;

  /// Closes the file; the next `open` starts another.
  void next_file() noexcept;

  /// "output/stream_5000_….bin", for messages.
  std::string path() const;

 private:
  std::error_code open_recorded(int directory) noexcept;
  std::error_code create(int directory) noexcept;

  OutputDirectory& directory_;
  ledger::FileRecord& record_;
  Namer namer_;
  Existing existing_;
  UniqueFd fd_;
};

}  // namespace serverd
