#include "client/chat/chat.h"

#include "client/chat/words.h"
#include "common/wire/tsam_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace serverd::chat {
namespace {

/// Lines are read only while less than this waits to be sent.
constexpr std::size_t kQueueLimit = std::size_t{256} << 10;

constexpr char kSent = '>';
constexpr char kReceived = '<';
constexpr char kGarbage = '?';
constexpr char kRemark = '*';

constexpr const char* kHelp[] = {
    "HELO <name>                give yourself a name",
    "SENDMSG <to> <message>     send a message",
    "GETMSGS, GETMSG            fetch all your messages, or the oldest one",
    "LISTSERVERS                the servers that this one is connected to",
    "STATUSREQ                  how the server is",
    "/quit                      leave; Ctrl+D too",
};

}  // namespace

Chat::Chat(Loop& loop, Console& console, const ChatOptions& options)
    : loop_(loop),
      console_(console),
      options_(options),
      link_(loop, options.server, options.connect,
            [this](tsam::Event event, std::string_view text) { received(event, text); }),
      keepalive_(loop, [this] { keep_alive(); }) {}

ExitCode Chat::run() {
  while (link_.state() == ServerLink::State::kConnecting && !quitting_) loop_.run_once();
  if (link_.state() == ServerLink::State::kOpen) {
    show(kRemark, "Connected to " + options_.server.to_string());
    if (options_.keepalive > Clock::duration::zero()) keepalive_.arm_in(options_.keepalive);
    converse();
    if (!quitting_ && !console_.interactive()) wait_for_answers();
    leave();
  }
  const ExitCode code = outcome();
  if (code != kExitOk) fmt::print(stderr, "stream-chat: {}\n", reason());
  if (link_.was_open()) console_.show("Over and Out");
  return code;
}

void Chat::quit() {
  at_once_ = quitting_;
  quitting_ = true;
}

void Chat::converse() {
  while (!over()) {
    if (link_.queued() > kQueueLimit) {
      loop_.run_once();
      continue;
    }
    const auto line = console_.next_line([this] { return over(); });
    if (!line) return;
    typed(*line);
  }
}

void Chat::typed(const std::string& line) {
  if (is_blank(line)) return;
  if (line[0] == '/') return slash(line.substr(0, line.find_last_not_of(" \t") + 1));
  const std::string command = wire_form(line);
  if (command.size() > tsam::kLongestCommand)
    return show(kRemark,
                fmt::format("Not sent: a command has at most {} bytes", tsam::kLongestCommand));
  send(command, false);
}

void Chat::slash(std::string_view word) {
  if (word == "/quit") {
    quitting_ = true;
  } else if (word == "/help") {
    for (const char* line : kHelp) show(kRemark, line);
  } else {
    show(kRemark, fmt::format("{} is not known; /help tells what is", word));
  }
}

void Chat::send(const std::string& command, bool own) {
  link_.send(command);
  if (tsam::parse_command(command, tsam::Origin::kClient).verb == tsam::Verb::kLeave)
    leaving_ = true;
  else
    awaited_.sent(command, own);
  if (!own) show(kSent, command);
}

void Chat::received(tsam::Event event, std::string_view text) {
  if (event == tsam::Event::kCommand) {
    // Our own KEEPALIVE is answered by the number of messages that wait: none is no news.
    if (!awaited_.received(text) || text != "KEEPALIVE,0") show(kReceived, text);
  } else if (event == tsam::Event::kTooLong) {
    show(kGarbage, fmt::format("More than {} bytes: {}…", tsam::kLongestCommand, text));
  } else if (!is_blank(text)) {
    show(kGarbage, text);
  }
}

void Chat::keep_alive() {
  // While a server reads nothing, more of them would only pile up.
  if (link_.queued() == 0) send("KEEPALIVE", true);
  keepalive_.arm_in(options_.keepalive);
}

/// Turns the loop until `done`, but no longer than `patience` without anything sent or received.
template <typename Condition>
void Chat::turn_until(Condition done, Clock::duration patience) {
  const Clock::time_point begin = Clock::now();
  while (!done() && !link_.over() && !at_once_) {
    const Clock::time_point now = Clock::now();
    const Clock::time_point deadline =
        std::min(std::max(begin, link_.last_activity()) + patience, begin + options_.longest_wait);
    if (now >= deadline) return;
    loop_.run_once(deadline - now);
  }
}

void Chat::wait_for_answers() {
  const auto sent = [this] { return link_.queued() == 0 || quitting_; };
  // As long as the server takes something, it is not too slow for us.
  for (std::size_t before = 0; !sent() && link_.queued() != before && !over();) {
    before = link_.queued();
    turn_until(sent, options_.longest_wait);
  }
  turn_until([this] { return awaited_.empty() || quitting_; }, options_.patience);
}

void Chat::leave() {
  if (!leaving_ && !link_.over()) send("LEAVE", true);
  turn_until([] { return false; }, options_.patience);
}

ExitCode Chat::outcome() const {
  if (!link_.was_open()) return link_.over() ? kExitBind : kExitOk;
  if (at_once_) return kExitOk;
  if (link_.queued() > 0 || (link_.over() && !leaving_)) return kExitIo;
  // A server may reset a connection that it was asked to close, but not in the middle of answers.
  const bool reset = link_.state() == ServerLink::State::kFailed;
  return reset && !awaited_.empty() ? kExitIo : kExitOk;
}

/// Of an outcome that is not good.
std::string Chat::reason() const {
  const std::string server = options_.server.to_string();
  if (!link_.was_open()) return fmt::format("connect {}: {}", server, link_.error());
  if (!link_.error().empty()) return fmt::format("{}: {}", server, link_.error());
  return server + (link_.over() ? ": the server closed the connection"
                                : ": the server did not take everything");
}

void Chat::show(char mark, std::string_view text) {
  console_.show(stamped(std::time(nullptr), mark, text));
}

}  // namespace serverd::chat
