#include "common/wire/tsam_frame.h"

#include "common/printable.h"

#include <algorithm>

namespace serverd::tsam {
namespace {

constexpr bool is_special(char c) noexcept { return c == kStart || c == kEnd || c == kEscape; }

/// One byte of a frame's content, or what ends it.
struct Unit {
  enum class Kind { kData, kStart, kEnd, kCut } kind;
  std::size_t length;  ///< on the wire; 0: kCut
};

/// The unit at the beginning of `bytes`, which are not empty. An ESC that nothing follows is cut.
Unit next_unit(std::string_view bytes, bool last) noexcept {
  switch (bytes[0]) {
    case kStart:
      return {Unit::Kind::kStart, 1};
    case kEnd:
      return {Unit::Kind::kEnd, 1};
    case kEscape:
      if (bytes.size() > 1) return {Unit::Kind::kData, is_special(bytes[1]) ? 2U : 1U};
      return last ? Unit{Unit::Kind::kData, 1} : Unit{Unit::Kind::kCut, 0};
    default:
      return {Unit::Kind::kData, 1};
  }
}

struct Content {
  Unit::Kind ended_by;  ///< kData: by the limit, and there is more of it
  std::size_t length;   ///< on the wire
  std::size_t decoded;
};

/// Content from the beginning of `bytes` on, at most `limit` bytes of it once decoded.
Content scan(std::string_view bytes, std::size_t limit, bool last) noexcept {
  std::size_t at = 0;
  for (std::size_t decoded = 0; at < bytes.size(); ++decoded) {
    Unit unit = next_unit(bytes.substr(at), last);
    // Whatever follows an ESC, one of both at least is data.
    if (unit.kind == Unit::Kind::kCut && decoded == limit) unit.kind = Unit::Kind::kData;
    if (unit.kind != Unit::Kind::kData || decoded == limit) return {unit.kind, at, decoded};
    at += unit.length;
  }
  return {Unit::Kind::kCut, at, 0};
}

/// `decoded` says how much is left of `raw`.
std::string_view unstuffed(std::string_view raw, std::size_t decoded, std::string& scratch) {
  if (decoded == raw.size()) return raw;
  scratch.clear();
  while (!raw.empty()) {
    const std::size_t length = next_unit(raw, true).length;
    scratch += raw[length - 1];
    raw.remove_prefix(length);
  }
  return scratch;
}

constexpr Position kBetweenFrames{Framing::kFrames, false};
constexpr Position kInLongFrame{Framing::kFrames, true};
constexpr Position kBetweenLines{Framing::kLines, false};
constexpr Position kInLongLine{Framing::kLines, true};

Step need_more(Position position) noexcept { return {Event::kNeedMore, 0, {}, position}; }

Step take_first(std::string_view bytes, Event event, std::size_t count, Position next) noexcept {
  return {event, count, bytes.substr(0, count), next};
}

Step skip_frame(std::string_view bytes, bool last) noexcept {
  const Content rest = scan(bytes, bytes.size(), last);
  const bool ended = rest.ended_by == Unit::Kind::kEnd;
  const bool over = ended || rest.ended_by == Unit::Kind::kStart;
  if (rest.length == 0 && rest.ended_by == Unit::Kind::kCut) return need_more(kInLongFrame);
  return take_first(bytes, Event::kSkipped, rest.length + (ended ? 1 : 0),
                    over ? kBetweenFrames : kInLongFrame);
}

Step next_frame(std::string_view bytes, bool last, std::string& scratch) {
  const std::size_t start = std::min(bytes.find(kStart), bytes.size());
  if (start > 0) return take_first(bytes, Event::kGarbage, start, kBetweenFrames);
  const Content content = scan(bytes.substr(1), kLongestCommand, last);
  const std::string_view raw = bytes.substr(1, content.length);
  const std::size_t through = 1 + content.length;
  switch (content.ended_by) {
    case Unit::Kind::kEnd:
      return {Event::kCommand, through + 1, unstuffed(raw, content.decoded, scratch),
              kBetweenFrames};
    case Unit::Kind::kData:
      return {Event::kTooLong, through, raw, kInLongFrame};
    case Unit::Kind::kStart:
      return take_first(bytes, Event::kGarbage, through, kBetweenFrames);
    case Unit::Kind::kCut:
      break;
  }
  if (!last) return need_more(kBetweenFrames);
  return take_first(bytes, Event::kGarbage, bytes.size(), kBetweenFrames);
}

Step skip_line(std::string_view bytes) noexcept {
  const auto end = bytes.find('\n');
  if (end == std::string_view::npos)
    return take_first(bytes, Event::kSkipped, bytes.size(), kInLongLine);
  return take_first(bytes, Event::kSkipped, end + 1, kBetweenLines);
}

Step next_line(std::string_view bytes, bool last) noexcept {
  const std::string_view window = bytes.substr(0, kLongestCommand + 2);
  const auto end = window.find('\n');
  const bool ended = end != std::string_view::npos;
  std::string_view line = window.substr(0, end);
  if ((ended || last || line.size() == kLongestCommand + 1) && line.ends_with('\r'))
    line.remove_suffix(1);
  if (line.size() > kLongestCommand || (!ended && window.size() > kLongestCommand + 1))
    return take_first(bytes, Event::kTooLong, kLongestCommand, kInLongLine);
  if (ended) return {Event::kCommand, end + 1, line, kBetweenLines};
  if (last) return {Event::kCommand, window.size(), line, kBetweenLines};
  return need_more(kBetweenLines);
}

void encode_frame(std::string& out, std::string_view command) {
  out += kStart;
  for (std::size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    // An ESC alone means itself unless what follows on the wire makes it a prefix.
    const bool before_special = i + 1 == command.size() || is_special(command[i + 1]);
    if (c == kStart || c == kEnd || (c == kEscape && before_special)) out += kEscape;
    out += c;
  }
  out += kEnd;
}

}  // namespace

Step next_command(std::string_view bytes, Position position, bool last, std::string& scratch) {
  if (bytes.empty()) return need_more(position);
  if (position.framing == Framing::kUnknown)
    position.framing = bytes[0] == kStart ? Framing::kFrames : Framing::kLines;
  if (position.framing == Framing::kFrames)
    return position.skipping && bytes[0] != kStart ? skip_frame(bytes, last)
                                                   : next_frame(bytes, last, scratch);
  return position.skipping ? skip_line(bytes) : next_line(bytes, last);
}

void encode(std::string& out, std::string_view command, Framing framing) {
  if (framing != Framing::kLines) return encode_frame(out, command);
  if (is_plain(command))
    out += command;
  else
    out += printable(command);
  out += '\n';
}

}  // namespace serverd::tsam
