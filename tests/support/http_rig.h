#pragma once

#include "common/ledger.h"
#include "common/os/memfd.h"
#include "tests/support/tcp_pair.h"
#include "worker/http/http_session.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace serverd::test {

/// One connection of a site, without a socket. What its peer and the kernel know survives `die`,
/// what a worker has in its memory does not.
class HttpRig final : ServiceHost {
 public:
  HttpRig() {
    site.host = this;
    site.wall = [] { return std::time_t{784'111'777}; };
    connect();
  }

  void connect() {
    session.reset();
    slot().id = ledger.header().next_connection_id++;
    slot().bytes = 0;
    for (ledger::Word& word : slot().protocol) word = 0;
    waiting.clear();
    written = 0;
    closed = false;
    session =
        std::make_unique<http::HttpSession>(site, slot(), 0, http::HttpSession::Origin::kAccepted);
  }

  /// The worker is killed; another takes over.
  void die() {
    session =
        std::make_unique<http::HttpSession>(site, slot(), 0, http::HttpSession::Origin::kResumed);
    write();
    show();
  }

  /// The peer's bytes arrive, and what is answered goes out.
  std::string ask(std::string_view bytes) {
    send(bytes);
    return take();
  }
  void send(std::string_view bytes) {
    waiting += bytes;
    show();
  }
  /// As Intake and Connection do it: what is taken leaves the socket, then output is sent.
  void show() {
    while (!closed) {
      const std::size_t taken = shown();
      write();
      if (taken == 0) return;
    }
  }
  /// Only the first half of that. Gives the bytes that were taken.
  std::size_t shown() {
    if (waiting.empty() || crowded) return 0;
    const Taken taken = session->on_bytes(std::as_bytes(std::span(waiting)), false);
    slot().bytes += taken.protocol;
    waiting.erase(0, taken.protocol);
    crowded = taken.crowded;
    return taken.protocol;
  }
  void write(std::size_t most = std::string::npos) {
    while (!stuck && most > 0) {
      const auto due = session->output(written);
      const std::size_t n = std::min(due.size(), most);
      if (n == 0) break;
      got.append(reinterpret_cast<const char*>(due.data()), n);
      written += n;
      most -= n;
    }
    const auto cause = session->ending();
    const bool all = !stuck && session->output(written).empty();
    if (all) crowded = false;
    if (cause && (all || *cause == ledger::Cause::kSlow)) closed = true;
  }
  /// What a woken connection does at the end of a turn.
  void settle() {
    while (std::exchange(awake, false)) write();
  }
  std::string take() { return std::exchange(got, {}); }
  /// Waits as long as `condition` does not hold, and lets timers come.
  template <typename Condition>
  bool turn_until(Condition condition) {
    for (int turns = 0; turns < 2000 && !condition(); ++turns) {
      clock.run_once(std::chrono::milliseconds(10));
      settle();
    }
    return condition();
  }

  ledger::Slot& slot() { return ledger.slots()[0]; }

  UniqueFd memory = ledger::create(4000, "packets", 1);
  ledger::Ledger ledger{memory.get(), Mapping::Access::kReadWrite};
  Loop clock;
  http::Site site;
  std::unique_ptr<http::HttpSession> session;
  std::string waiting;        ///< in the socket
  std::string got;            ///< by the peer
  std::uint64_t written = 0;  ///< bytes of output that left
  bool stuck = false;         ///< the peer does not read
  bool crowded = false;
  bool closed = false;  ///< by us
  bool awake = false;

 private:
  Loop& loop() noexcept override { return clock; }
  void commit_soon() override {}
  void wake(std::uint32_t) override { awake = true; }
  void connect(const SocketAddress&, std::uint64_t) override {}
  std::optional<SocketAddress> local_address(std::uint32_t) const override {
    return loopback(4000);
  }
};

}  // namespace serverd::test
