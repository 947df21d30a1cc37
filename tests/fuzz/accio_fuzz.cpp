#include "common/log.h"
#include "tests/support/accio_rig.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

/// However a client's bytes are split, whoever dies between them, and however little the disk takes
/// at a time: the file and the greetings are what the specification says for the bytes as a whole.
///
/// Input: a byte, the handshake; a byte, the number of chunks; for each a byte, its size in the
/// lower six bits, 0x40: the disk takes a part of it, 0x80: the worker dies before it; then what
/// the client sends. What the chunks leave comes with its end.
namespace {

using namespace serverd;

void check(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

/// A client of the service, in slot 0, without a socket.
class Client final {
 public:
  explicit Client(test::AccioRig& rig)
      : rig_(rig), slot_(rig.fill(0, 1)), session_(rig.service->open(slot_)) {}
  ~Client() {
    slot_.state = ledger::SlotState::kFree;
    std::filesystem::remove(path());
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void die() {
    session_.reset();
    rig_.die(1);
    session_ = rig_.service->resume(slot_);
  }

  /// What Intake does; `partly`: only a half of what is payload gets onto the disk.
  void arrive(std::string_view bytes, bool last, bool partly) {
    waiting_ += bytes;
    const auto shown = std::as_bytes(std::span(waiting_));
    const Taken taken = session_->on_bytes(shown, last);
    check(taken.protocol + taken.payload <= waiting_.size(), "took more than there is");
    check(!last || taken.protocol + taken.payload == waiting_.size(), "left what is last");
    const std::size_t stored = partly ? taken.payload / 2 : taken.payload;
    if (stored > 0) store(shown.subspan(taken.protocol, stored));
    slot_.bytes += taken.protocol + stored;
    waiting_.erase(0, taken.protocol + stored);
    check(test::all_output(*session_).starts_with(said_), "took back what it said");
    said_ = test::all_output(*session_);
  }
  void finish() {
    while (!waiting_.empty()) arrive("", true, waiting_.size() > 1);
    session_->on_end(ledger::Cause::kEof, {});
  }

  std::string path() const { return rig_.dir / slot_.file.file_name(); }
  const std::string& said() const { return said_; }

 private:
  void store(std::span<const std::byte> payload) {
    Sink& sink = *session_->sink();
    check(!sink.open() && sink.append(payload).bytes == payload.size(), "cannot write");
    sink.commit(sink.committed() + payload.size());
  }

  test::AccioRig& rig_;
  ledger::Slot& slot_;
  std::unique_ptr<Session> session_;
  std::string waiting_;
  std::string said_ = test::all_output(*session_);
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  static test::AccioRig rig = [] {
    log::configure(log::Level::kError, log::Target::kStderr);
    return test::AccioRig();
  }();
  if (size < 2) return 0;
  const std::size_t chunks = std::min<std::size_t>(data[1], size - 2);
  const std::string_view stream(reinterpret_cast<const char*>(data) + 2 + chunks,
                                size - 2 - chunks);
  rig.config.handshake = static_cast<AccioHandshake>(data[0] % 3);
  rig.die(1);
  Client client(rig);
  std::size_t arrived = 0;
  for (std::size_t i = 0; i < chunks; ++i) {
    const unsigned char chunk = data[2 + i];
    if ((chunk & 0x80) != 0) client.die();
    const std::string_view bytes = stream.substr(arrived, chunk & 0x3F);
    arrived += bytes.size();
    if (!bytes.empty()) client.arrive(bytes, false, (chunk & 0x40) != 0);
  }
  if (arrived < stream.size()) client.arrive(stream.substr(arrived), false, false);
  client.finish();
  const test::AccioDue due = test::accio_due(stream, rig.config.handshake);
  check(test::file_content(client.path()) == due.file, "the file is not what is due");
  check(client.said() == due.greetings, "the greetings are not what is due");
  return 0;
}
