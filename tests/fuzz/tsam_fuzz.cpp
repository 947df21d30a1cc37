#include "common/printable.h"
#include "common/wire/tsam_command.h"
#include "common/wire/tsam_frame.h"

#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

/// Whatever a chat client or another group's server sends: however the stream was split it gives
/// the same commands, a receiver never holds more than a frame, and a command that was taken comes
/// back unchanged when it is sent on.
///
/// Input: a byte that says where the stream is split, then the stream.
namespace {

using namespace serverd;
using namespace serverd::tsam;

void fail(std::string_view what, std::string_view text) {
  std::cerr << what << ": " << printable(text) << '\n';
  std::abort();
}

struct Received {
  std::vector<std::string> commands;  ///< kTooLong: the beginning, in more bytes than fit
  std::size_t others = 0;             ///< bytes of no command
  bool operator==(const Received&) const = default;
};

/// What is not consumed comes again, with more, as from a socket that is peeked at.
class Receiver final {
 public:
  void add(std::string_view bytes, bool last) {
    held_ += bytes;
    std::string_view rest = held_;
    for (Step step = take(rest, last); step.event != Event::kNeedMore; step = take(rest, last))
      rest.remove_prefix(step.consumed);
    held_.erase(0, held_.size() - rest.size());
    if (held_.size() >= kLongestFrame) fail("held too much", held_);
    if (last && !held_.empty()) fail("left over", held_);
  }

  Received received;

 private:
  Step take(std::string_view rest, bool last) {
    const Step step = next_command(rest, position_, last, scratch_);
    if ((step.consumed == 0) != (step.event == Event::kNeedMore)) fail("no progress", rest);
    if (step.consumed > rest.size()) fail("consumed too much", rest);
    if (step.event == Event::kCommand) {
      if (step.text.size() > kLongestCommand) fail("too long", step.text);
      received.commands.emplace_back(step.text);
    } else if (step.event == Event::kTooLong) {
      received.commands.push_back(std::string(step.text) + std::string(kLongestCommand, '.'));
    } else {
      received.others += step.consumed;
    }
    if (step.event != Event::kNeedMore) position_ = step.next;
    return step;
  }

  std::string held_;
  std::string scratch_;
  Position position_;
};

Received received(std::string_view stream, std::size_t piece) {
  Receiver receiver;
  for (std::size_t begin = 0; begin < stream.size(); begin += piece)
    receiver.add(stream.substr(begin, piece), false);
  receiver.add("", true);
  return receiver.received;
}

void check_within(std::string_view part, std::string_view text) {
  const std::less_equal<> before;
  if (part.empty()) return;
  if (!before(text.data(), part.data()) ||
      !before(part.data() + part.size(), text.data() + text.size()))
    fail("a field from elsewhere", text);
}

void check_list(std::string_view list) {
  while (const auto entry = take_server(list)) {
    std::string text;
    append_server(text, *entry);
    std::string_view again = text;
    if (take_server(again) != entry || !again.empty()) fail("server changed on the way", text);
  }
}

void check_parsed(std::string_view text, Origin origin) {
  const Command command = parse_command(text, origin);
  if (command.count > Command::kMostFields) fail("too many fields", text);
  if ((command.form == Form::kBare) != (command.count == 0)) fail("form", text);
  check_within(command.name, text);
  for (std::size_t i = 0; i < command.count; ++i) {
    check_within(command.field(i), text);
    check_list(command.field(i));
    static_cast<void>(parse_count(command.field(i)));
    if (is_name(command.field(i)) && !is_id(command.field(i))) fail("name", command.field(i));
  }
  if (command.verb != Verb::kSendMsg || command.count != 2 || origin != Origin::kClient) return;
  const std::string again = command_text({"SENDMSG", command.field(0), command.field(1)});
  const Command same = parse_command(again, origin);
  // In words a recipient may contain a comma, which no id does.
  if (is_id(command.field(0)) && same.fields != command.fields) fail("other fields", text);
}

void check_command(const std::string& command) {
  if (command.size() > kLongestCommand) return;
  check_parsed(command, Origin::kClient);
  check_parsed(command, Origin::kServer);
  std::string wire;
  encode(wire, command, Framing::kFrames);
  encode(wire, "next", Framing::kFrames);
  if (received(wire, wire.size()) != Received{{command, "next"}, 0})
    fail("changed on the way", command);
  std::string line;
  encode(line, command, Framing::kLines);
  line.pop_back();
  if (line.find_first_of("\r\n\x1b") != std::string::npos) fail("breaks its line", command);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  // Each piece makes the receiver look at the unfinished command again: few where they are long.
  const std::size_t piece = data[0] % 32 + 1 + data[0] * stream.size() / 1024;
  const Received whole = received(stream, stream.size() + 1);
  if (whole != received(stream, piece)) fail("split differently", stream);
  for (const std::string& command : whole.commands) check_command(command);
  return 0;
}
