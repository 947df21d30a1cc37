#include "common/printable.h"
#include "common/wire/tsam_frame.h"
#include "tests/support/chat_rig.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <string>
#include <string_view>

/// Whatever clients and other servers do to a chat server, in whatever order: it goes on, holds no
/// more than it should, counts its messages right, says nothing that others could not take, and
/// answers no ERROR with one. And whenever the worker is killed, or the disk takes nothing: each of
/// them is told, byte for byte, what it would have been told otherwise.
///
/// Input: steps, each a byte (what, to whom) and what it needs. See Play::step.
namespace {

using namespace serverd;
using chat::ChatSession;
using test::ChatRig;

constexpr std::size_t kMostSteps = 400;
constexpr std::uint32_t kMostConnections = 40;  ///< ever

constexpr std::string_view kTexts[] = {
    "\x01HELO,B_1\x04",
    "\x01HELO,B_2\x04",
    "\x01HELO,A5_43\x04",
    "HELO ann\n",
    "HELO bob\n",
    "\x01HELO eve\x04",
    "SENDMSG ann hi, there\n",
    "SENDMSG,bob,\x01\x04\x1b\n",
    "SENDMSG B_1 for a group\n",
    "SENDMSG B_3 for one behind it\n",
    "\x01SENDMSG,ann,B_1,hi\x04",
    "\x01SENDMSG,B_2,B_1,hi\x04",
    "\x01SERVERS,B_1,1.2.3.4,5;B_3,::1,7;A5_43,1.1.1.1,1;\x04",
    "\x01KEEPALIVE,3\x04",
    "KEEPALIVE\n",
    "GETMSGS\n",
    "GETMSG\n",
    "GETMSGS A5_43\n",
    "\x01GETMSGS,B_1\x04",
    "\x01STATUSREQ\x04",
    "STATUSREQ\n",
    "\x01"
    "ERROR,X\x04",
    "ERROR,X\n",
    "LISTSERVERS\n",
    "SENDMSG 2 by number\n",
    "LEAVE\n",
};

[[noreturn]] void fail(std::string_view what, std::string_view text) {
  std::cerr << what << ": " << printable(text) << '\n';
  std::abort();
}

/// Only the clock's part of an answer differs.
std::string without_uptime(std::string text) {
  constexpr std::string_view kWord = ",uptime,";
  for (auto at = text.find(kWord); at != std::string::npos; at = text.find(kWord, at + 1)) {
    at += kWord.size();
    text.erase(at, std::min(text.find(',', at), text.size()) - at);
  }
  return text;
}

/// How often `stream` says something, and how often it is an ERROR.
struct Said {
  std::size_t all = 0, errors = 0;
};
Said said(std::string_view stream, tsam::Position position, bool by_us) {
  Said count;
  std::string scratch;
  while (!stream.empty()) {
    const tsam::Step step = tsam::next_command(stream, position, true, scratch);
    position = step.next;
    stream.remove_prefix(step.consumed);
    if (step.event == tsam::Event::kTooLong && by_us) fail("too long", step.text);
    if (step.event == tsam::Event::kGarbage && by_us) fail("not framed", step.text);
    if (step.event != tsam::Event::kCommand && step.event != tsam::Event::kTooLong) continue;
    ++count.all;
    const auto verb = tsam::parse_command(step.text, tsam::Origin::kServer).verb;
    if (step.event == tsam::Event::kCommand && verb == tsam::Verb::kError) ++count.errors;
  }
  return count;
}

/// Takes what it needs off the input; zeroes when there is nothing.
class Input final {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}
  bool empty() const noexcept { return rest_.empty(); }
  unsigned byte() {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return byte;
  }
  std::string_view bytes(std::size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view rest_;
};

ChatConfig settings(bool in_memory) {
  ChatConfig config;
  if (in_memory) config.database = ":memory:";
  config.max_peers = 3;
  config.min_peers = 2;
  config.peers = {"127.0.0.1:1"};
  config.max_messages_per_recipient = 40;
  config.max_messages = 60;
  return config;
}

/// The steps of one input, with the worker's deaths and the disk's failures that are in it, or
/// without.
class Play final {
 public:
  explicit Play(bool disturbed) : disturbed_(disturbed), rig_(settings(!disturbed)) {
    rig_.serve();
  }

  void run(std::string_view bytes) {
    Input input(bytes);
    for (std::size_t i = 0; i < kMostSteps && !input.empty(); ++i) step(input);
    end_turn(0, 0);
    check_counts();
  }

  bool has_disturbances = false;
  std::map<std::uint32_t, std::string> heard, told;

 private:
  void step(Input& input) {
    const unsigned byte = input.byte();
    const std::uint32_t whom = byte >> 4;
    switch (byte & 15) {
      default:
        return say(whom, std::string(input.bytes(input.byte())));
      case 5: {
        const std::string_view text = kTexts[input.byte() % std::size(kTexts)];
        std::string all;
        for (unsigned times = input.byte() % 32 + 1; times > 0; --times) all += text;
        return say(whom, all);
      }
      case 6: {
        const auto filling = static_cast<char>(input.byte());
        return say(whom, std::string(input.byte() * 32, filling));
      }
      case 7:
      case 8: {
        const unsigned mode = input.byte();
        return end_turn(mode % 6, mode / 6);
      }
      case 9:
        end_turn(0, 0);
        if (ChatRig::Peer* peer = find(whom)) peer->stuck = !peer->stuck;
        return end_turn(0, 0);
      case 10:
        end_turn(0, 0);
        if (ChatRig::Peer* peer = find(whom)) end(*peer, ledger::Cause::kReset);
        return;
      case 11:
        end_turn(0, 0);
        rig_.wall += static_cast<std::time_t>(input.byte()) * 3600;
        rig_.service->expire();
        return end_turn(0, 0);
      case 12:
        end_turn(0, 0);
        rig_.service->tick();
        return end_turn(0, 0);
      case 13:
        // Not among the requests of a turn: those that come again would see it.
        if (!shown_.empty()) end_turn(0, 0);
        if (rig_.next_index < kMostConnections) rig_.connected();
        return;
      case 14:
        return finish(whom);
      case 15:
        if (!shown_.empty()) end_turn(0, 0);
        if (rig_.next_index < kMostConnections) rig_.connect();
        return;
    }
  }

  /// The `whom`th connection, if there are so many.
  ChatRig::Peer* find(std::uint32_t whom) {
    if (rig_.peers.empty()) return nullptr;
    return &std::next(rig_.peers.begin(), whom % rig_.peers.size())->second;
  }

  void say(std::uint32_t whom, const std::string& text) {
    if (rig_.peers.empty()) rig_.connect();
    ChatRig::Peer* peer = find(whom);
    const std::uint32_t index = peer->index;
    if (rig_.pending.contains(index)) end_turn(0, 0);
    if (!rig_.peers.contains(index)) return;
    heard[index] += text;
    shown_.push_back(index);
    show(rig_.peers[index], text);
  }
  void show(ChatRig::Peer& peer, std::string_view text) {
    rig_.send(peer, text);
    if (rig_.pending[peer.index] > peer.sent.size()) fail("took what is not there", peer.sent);
  }

  /// `mode`: how it is disturbed.
  void end_turn(unsigned mode, unsigned detail) {
    has_disturbances = has_disturbances || mode != 0;
    if (disturbed_ && mode != 0)
      disturb(mode, detail);
    else if (rig_.turn_end())
      fail("commit", "failed");
    shown_.clear();
    show_what_waited();
    end_those_that_should();
    look();
  }

  void disturb(unsigned mode, unsigned detail) {
    if (mode == 1) {
      rig_.fail_commit();
      if (!rig_.turn_end()) fail("commit", "did not fail");
      static_cast<void>(rig_.service->retry());
      return again();
    }
    if (mode == 2) {
      rig_.pending.clear();
      rig_.die();
      return again();
    }
    if (rig_.service->commit()) fail("commit", "failed");
    if (mode >= 4) rig_.settle();
    rig_.pending.clear();
    if (mode == 5)
      for (auto& [index, peer] : rig_.peers) rig_.write(peer, detail);
    rig_.die();
  }
  /// What was not committed is still in the sockets.
  void again() {
    for (const std::uint32_t index : shown_) show(rig_.peers[index], "");
    if (rig_.turn_end()) fail("commit", "failed");
  }

  /// Requests beyond what is due to their senders, who have taken some now.
  void show_what_waited() {
    for (int i = 0; i < 1000; ++i) {
      std::size_t left = 0, before = 0;
      for (auto& [index, peer] : rig_.peers) {
        if (peer.stuck || peer.sent.empty()) continue;
        before += peer.sent.size();
        show(peer, "");
      }
      if (before == 0) return;
      if (rig_.turn_end()) fail("commit", "failed");
      for (auto& [index, peer] : rig_.peers)
        if (!peer.stuck) left += peer.sent.size();
      if (left >= before) fail("nothing goes on", std::to_string(left));
    }
  }

  void end_those_that_should() {
    for (bool more = true; std::exchange(more, false);)
      for (auto& [index, peer] : rig_.peers)
        if (const auto cause = peer.session->ending()) {
          end(peer, *cause);
          more = true;
          break;
        }
  }
  void end(ChatRig::Peer& peer, ledger::Cause cause) {
    take(peer);
    rig_.end(peer, cause);
  }
  /// The client has finished, perhaps within a line.
  void finish(std::uint32_t whom) {
    end_turn(0, 0);
    ChatRig::Peer* peer = find(whom);
    if (peer == nullptr) return;
    const std::uint32_t index = peer->index;
    peer->session->on_eof();
    end_turn(0, 0);
    const auto left = rig_.peers.find(index);
    if (left != rig_.peers.end()) end(left->second, ledger::Cause::kEof);
  }

  void take(ChatRig::Peer& peer) { told[peer.index] += rig_.take(peer); }
  void look() {
    for (auto& [index, peer] : rig_.peers) {
      take(peer);
      const auto& session = dynamic_cast<const ChatSession&>(*peer.session);
      if (session.out.pending() > ChatSession::kTooSlow + 2 * ChatSession::kCrowded)
        fail("too much output", std::to_string(session.out.pending()));
      if (session.state.partial.size() >= tsam::kLongestFrame)
        fail("too much of a command", session.state.partial);
    }
  }

  void check_counts() {
    ChatRig::Peer& observer = rig_.connect();
    const std::string status = rig_.line(observer, "STATUSREQ");
    std::size_t waiting = 0;
    for (const auto& row : rig_.service->store().mailboxes()) waiting += row.waiting;
    if (status.find(",messages," + std::to_string(waiting) + ",") == std::string::npos)
      fail("not " + std::to_string(waiting) + " messages", status);
  }

  bool disturbed_;
  ChatRig rig_;
  std::vector<std::uint32_t> shown_;  ///< in this turn
};

bool is_control(char c) { return c >= 0 && c < ' ' && c != '\n'; }

/// In lines what is escaped for people may be longer than a command. Before the peer has said
/// anything it is spoken to in frames.
void check_lines(std::string_view text) {
  while (text.starts_with(tsam::kStart)) text.remove_prefix(text.find(tsam::kEnd) + 1);
  if (std::any_of(text.begin(), text.end(), is_control)) fail("a line is not printable", text);
}

void check(const Play& play) {
  for (const auto& [index, text] : play.told) {
    const auto found = play.heard.find(index);
    const std::string heard = found != play.heard.end() ? found->second : "";
    if (!heard.empty() && heard[0] != tsam::kStart) {
      check_lines(text);
      continue;
    }
    const Said by_us = said(text, {tsam::Framing::kFrames, false}, true);
    const Said by_peer = said(heard, {}, false);
    if (by_us.errors > by_peer.all - by_peer.errors) fail("an ERROR too many", text);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  Play calm(false);
  calm.run(input);
  check(calm);
  if (!calm.has_disturbances) return 0;
  Play disturbed(true);
  disturbed.run(input);
  for (const auto& [index, text] : calm.told) {
    const std::string a = without_uptime(text), b = without_uptime(disturbed.told[index]);
    if (a != b) {
      std::cerr << "undisturbed: " << printable(a) << '\n';
      fail("connection " + std::to_string(index) + " was told otherwise", b);
    }
  }
  return 0;
}
