#pragma once

#include "common/ledger.h"
#include "common/os/memfd.h"
#include "tests/support/tcp_pair.h"
#include "tests/support/temp_dir.h"
#include "worker/chat/chat_service.h"

#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace serverd::test {

/// One port of the chat service without sockets. What a worker keeps in its memory is replaced by
/// `die`; what the kernel keeps, bytes that were taken and sent, is in the clients.
class ChatRig final : ServiceHost {
 public:
  /// A connection as its peer and the kernel have it.
  struct Peer {
    std::uint32_t index = 0;
    std::string sent;           ///< not taken by the service yet
    std::uint64_t written = 0;  ///< bytes of output that left
    std::string got;            ///< of these, not looked at
    bool stuck = false;         ///< does not read
    std::unique_ptr<Session> session{};
  };

  ChatRig() : ChatRig(ChatConfig{}) {}
  explicit ChatRig(ChatConfig with) : config(std::move(with)) {
    config.output = dir.path();
    start();
  }
  ~ChatRig() {
    for (auto& [index, peer] : peers) peer.session.reset();
  }

  void start() {
    ChatService::Environment environment;
    environment.wall = [this] { return wall; };
    environment.cpu = [this] { return cpu; };
    service = std::make_unique<ChatService>(config, std::uint16_t{4000}, ledger, environment);
    service->attach(*this);
  }
  void serve() {
    service->on_serving({});
    turn_end();
  }

  /// The worker is killed between two instructions; another takes over.
  void die() {
    for (auto& [index, peer] : peers) peer.session.reset();
    awake.clear();
    pending.clear();
    service.reset();
    start();
    for (auto& [index, peer] : peers) {
      ledger::Slot& slot = ledger.slots()[index];
      const auto committed = service->committed_offset(slot);
      if (committed && *committed > slot.bytes) {
        peer.sent.erase(0, *committed - slot.bytes);
        slot.bytes = *committed;
      }
      peer.session = service->resume(slot);
      static_cast<void>(peer.session->output(peer.written));  // a stuck one is tried too
    }
    serve();
    write_all();
  }

  ledger::Slot& fill(std::uint32_t index) {
    ledger::Slot& slot = ledger.slots()[index];
    slot.id = ledger.header().next_connection_id++;
    slot.cookie = 1000 + slot.id;
    slot.bytes = 0;
    slot.peer = ledger::PeerAddress::from(loopback(static_cast<std::uint16_t>(50'000 + slot.id)));
    for (ledger::Word& word : slot.protocol) word = 0;
    slot.state = ledger::SlotState::kOpen;
    return slot;
  }
  Peer& connect() {
    const std::uint32_t index = next_index++;
    Peer& peer = peers[index];
    peer.index = index;
    peer.session = service->open(fill(index));
    return peer;
  }

  /// A connection of the service's own is made.
  Peer& connected(std::uint64_t token = 0) {
    const std::uint32_t index = next_index++;
    Peer& peer = peers[index];
    peer.index = index;
    peer.session = service->open_outgoing(fill(index), token);
    return peer;
  }

  /// The peer's bytes reach the service, which commits and answers.
  std::string ask(Peer& peer, std::string_view bytes) {
    send(peer, bytes);
    turn_end();
    return take(peer);
  }
  std::string line(Peer& peer, std::string_view text) {
    return ask(peer, std::string(text) + "\n");
  }
  void send(Peer& peer, std::string_view bytes, bool last = false) {
    peer.sent += bytes;
    if (peer.session == nullptr) return;
    const Taken taken = peer.session->on_bytes(std::as_bytes(std::span(peer.sent)), last);
    pending[peer.index] = taken.protocol;
  }
  std::error_code turn_end() {
    const std::error_code error = service->commit();
    if (!error) settle();
    pending.clear();
    write_all();
    return error;
  }
  /// Makes this turn's commit fail, as a full disk does.
  void fail_commit() { service->store().add_mailbox(config.server_id, true, 0); }
  /// As Connection does with what was deferred.
  void settle() {
    for (const auto& [index, count] : pending) {
      ledger.slots()[index].bytes += count;
      peers[index].sent.erase(0, count);
    }
  }
  void write_all() {
    for (int i = 0; i < 200; ++i) {
      bool more = false;
      for (auto& [index, peer] : peers) more = write(peer) || more;
      more = !std::exchange(awake, {}).empty() || more;
      if (more && service->commit()) return;
      if (!more) return;
    }
  }
  bool write(Peer& peer, std::size_t most = std::string::npos) {
    if (peer.stuck || peer.session == nullptr) return false;
    const auto due = peer.session->output(peer.written);
    const std::size_t n = std::min(due.size(), most);
    peer.got.append(reinterpret_cast<const char*>(due.data()), n);
    peer.written += n;
    return n > 0 || peer.session->more_output();
  }
  std::string take(Peer& peer) { return std::exchange(peer.got, {}); }
  void end(Peer& peer, ledger::Cause cause = ledger::Cause::kEof) {
    peer.session->on_end(cause, {});
    turn_end();
    ledger.slots()[peer.index].state = ledger::SlotState::kFree;
    peer.session.reset();
    peers.erase(peer.index);
  }
  std::string log() const { return file_content(dir / "server_log.txt"); }

  TempDir dir;
  ChatConfig config;
  UniqueFd memory = ledger::create(4000, "chat", 64);
  ledger::Ledger ledger{memory.get(), Mapping::Access::kReadWrite};
  Loop clock;
  std::time_t wall = 1'000'000'000;
  double cpu = 0;
  std::unique_ptr<ChatService> service;
  std::map<std::uint32_t, Peer> peers;
  std::map<std::uint32_t, std::size_t> pending;
  std::uint32_t next_index = 0;
  std::vector<std::uint32_t> awake;
  std::vector<std::pair<SocketAddress, std::uint64_t>> connects;

 private:
  Loop& loop() noexcept override { return clock; }
  void commit_soon() override {}
  void wake(std::uint32_t slot_index) override { awake.push_back(slot_index); }
  void connect(const SocketAddress& address, std::uint64_t token) override {
    connects.emplace_back(address, token);
  }
  std::optional<SocketAddress> local_address(std::uint32_t) const override {
    return loopback(4000);
  }
};

inline std::string frame(std::string_view command) {
  return "\x01" + std::string(command) + "\x04";
}

}  // namespace serverd::test
