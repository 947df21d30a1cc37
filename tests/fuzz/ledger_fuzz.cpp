#include "common/ledger.h"
#include "common/os/memfd.h"
#include "worker/recover.h"
#include "worker/stream/stream_service.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include <stdlib.h>
#include <unistd.h>

/// A ledger holds what another process has written. Whatever that is: it is refused, or the
/// supervisor can read it and copy it to another size, and a worker recovers from it, and from the
/// copy, without crashing, hanging, or touching anything outside of its output directory.
///
/// Input: a byte, then what is laid over a ledger with four slots and two output files; behind its
/// header if the byte is even. The byte's upper six bits are the number of slots of the copy.
namespace {

using namespace serverd;
namespace fs = std::filesystem;

constexpr std::uint32_t kSlots = 4;
constexpr char kOutside[] = "outside";

/// A directory that is removed at the end of the process, with one for the output in it.
class Place final {
 public:
  Place() : path_((fs::temp_directory_path() / "ledger-fuzz-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
    write(path_ + "/" + kOutside, kOutside);
  }
  ~Place() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  std::string output() const { return path_ + "/output"; }
  void prepare() const {
    fs::remove_all(output());
    fs::create_directory(output());
    for (const char* name : {"shared", "own"}) write(output() + "/" + name, "0123456789");
  }
  bool outside_is_untouched() const {
    return fs::file_size(path_ + "/" + kOutside) == sizeof kOutside - 1 &&
           std::distance(fs::directory_iterator(path_), {}) == 2;
  }

 private:
  static void write(const std::string& path, const char* text) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) std::abort();
    std::fputs(text, file);
    std::fclose(file);
  }

  std::string path_;
};

/// A ledger in the middle of its work, so that small changes reach far.
UniqueFd busy_ledger() {
  UniqueFd fd = ledger::create(5000, "stream", kSlots);
  const ledger::Ledger ledger(fd.get(), Mapping::Access::kReadWrite);
  ledger.output().begin("shared");
  ledger.output().committed = 5;
  ledger.output().state = ledger::FileState::kOpen;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    ledger::Slot& slot = ledger.slots()[i];
    slot.id = i + 1;
    slot.bytes = 5;
    slot.file.begin("own");
    slot.file.committed = 5;
    slot.file.state = ledger::FileState::kOpen;
    slot.state = static_cast<ledger::SlotState>(i % 3);
  }
  ledger::Intent& intent = ledger.intent();
  intent.slot = 1;
  intent.file_offset = 5;
  intent.connection_offset = 5;
  intent.stored = intent.consumed = 3;
  intent.state = ledger::IntentState::kWriting;
  return fd;
}

void lay_over(int fd, std::size_t offset, const unsigned char* data, std::size_t size) {
  const Mapping memory(fd, Mapping::Access::kReadWrite);
  std::memcpy(static_cast<char*>(memory.data()) + offset, data,
              std::min(size, memory.size() - offset));
}

bool is_used(const ledger::Slot& slot) { return slot.state != ledger::SlotState::kFree; }

/// What supervisor, status and log do with a ledger.
std::size_t read_figures(const ledger::Ledger& ledger) {
  std::size_t sum = ledger.output().file_name().size() + ledger.counters().bytes +
                    ledger.header().protocol_name().size();
  sum += ledger.intent().state != ledger::IntentState::kNone ? 1 : 0;
  for (const ledger::Slot& slot : ledger.slots())
    sum += slot.file.file_name().size() + slot.peer.to_address().to_string().size() + slot.bytes;
  return sum;
}

void recover_from(int fd, const Place& place, bool file_per_connection) {
  place.prepare();
  const StreamConfig config{place.output(), file_per_connection};
  ledger::Ledger ledger(fd, Mapping::Access::kReadWrite);
  static_cast<void>(read_figures(ledger));
  StreamService service(config, 5000, ledger);
  for (int i = 0; i < 2; ++i) {
    const Recovery recovery = recover(ledger, service, {}, 1);
    const bool right =
        recovery.resumed.empty() && recovery.newcomers.empty() &&
        ledger.intent().state == ledger::IntentState::kNone &&
        std::all_of(ledger.slots().begin(), ledger.slots().end(), [](const ledger::Slot& slot) {
          return slot.state == ledger::SlotState::kFree;
        });
    if (!right || !place.outside_is_untouched()) std::abort();
  }
}

/// The supervisor, when the port gets another max_connections: every slot in use is in the copy, in
/// order, and the intent names the same one as before, or none.
UniqueFd copy_of(int fd, std::uint32_t slot_count) {
  const ledger::Ledger from(fd, Mapping::Access::kRead);
  static_cast<void>(read_figures(from));
  UniqueFd copied = ledger::resized_copy(fd, slot_count);
  const ledger::Ledger to(copied.get(), Mapping::Access::kRead);
  static_cast<void>(read_figures(to));
  if (to.slots().size() < slot_count) std::abort();
  std::uint32_t next = 0;
  for (std::uint32_t i = 0; i < from.slots().size(); ++i) {
    const ledger::Slot& slot = from.slots()[i];
    if (!is_used(slot)) continue;
    const ledger::Slot& moved = to.slots()[next];
    if (moved.id != slot.id || moved.cookie != slot.cookie || moved.bytes != slot.bytes ||
        (from.intent().slot == i) != (to.intent().slot == next))
      std::abort();
    ++next;
  }
  if (std::any_of(to.slots().begin() + next, to.slots().end(), is_used)) std::abort();
  return copied;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  static const Place place;
  if (size == 0) return 0;
  const bool keep_header = (data[0] & 1) == 0;
  const bool file_per_connection = (data[0] & 2) != 0;
  const UniqueFd fd = busy_ledger();
  lay_over(fd.get(), keep_header ? sizeof(ledger::Header) : 0, data + 1, size - 1);
  try {
    const UniqueFd copy = copy_of(fd.get(), data[0] / 4);
    recover_from(fd.get(), place, file_per_connection);
    recover_from(copy.get(), place, file_per_connection);
  } catch (const ledger::LedgerError&) {
    if (keep_header) std::abort();
  }
  return 0;
}
