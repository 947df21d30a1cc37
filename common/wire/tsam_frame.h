#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// How commands of the chat service stand in a byte stream. PROTOCOLS: chat.
///
/// A frame is SOH, the command, EOT. Within it ESC before SOH, EOT or ESC says that this byte
/// belongs to the command; before any other byte (or the frame's end) ESC is an ordinary byte,
/// since many peers know no stuffing. A connection whose first byte is not SOH speaks lines
/// instead, each ended by LF or CRLF, in which no byte has another meaning.
namespace serverd::tsam {

inline constexpr char kStart = '\x01';   ///< SOH
inline constexpr char kEnd = '\x04';     ///< EOT
inline constexpr char kEscape = '\x1b';  ///< ESC

/// Bytes of a whole command, decoded and without SOH, EOT or line end.
inline constexpr std::size_t kLongestCommand = 5'000;
/// Bytes of the longest frame, when every byte is stuffed. Whoever holds so many bytes is never
/// told kNeedMore.
inline constexpr std::size_t kLongestFrame = 2 * kLongestCommand + 2;

enum class Framing {
  kUnknown,  ///< nothing was received yet
  kFrames,
  kLines,
};

/// All that a receiver remembers of a connection between two commands.
struct Position {
  Framing framing = Framing::kUnknown;
  bool skipping = false;  ///< within a command that is too long

  bool operator==(const Position&) const = default;
};

enum class Event {
  kNeedMore,  ///< no byte consumed: a command is unfinished, or there are no bytes
  kCommand,   ///< `text` is the command, possibly empty
  kTooLong,  ///< a command has more than kLongestCommand bytes: once for each; `text` its beginning
  kSkipped,  ///< more of a command that is too long
  kGarbage,  ///< `text` belongs to no command: bytes between frames, or a frame without an end
};

struct Step {
  Event event;
  std::size_t consumed;   ///< bytes that are done with; 0 exactly with kNeedMore
  std::string_view text;  ///< into the bytes given, or into `scratch`
  Position next;          ///< for the bytes that follow those consumed
};

/// Takes the first thing off `bytes`, which begin at `position`. `last`: nothing follows them.
/// Nothing is kept here, so the bytes of an unfinished command may stay where they are (a socket)
/// and come again, with more. However a stream is split, it gives the same commands and kTooLong in
/// the same order; runs of kSkipped and kGarbage may be split otherwise. A call looks at no more
/// than kLongestFrame bytes besides those it consumes.
///
/// SOH within a frame begins another one: the unfinished is kGarbage, so an EOT that was lost costs
/// one command and not two. So it is while skipping. When the connection ends an unfinished frame
/// is kGarbage, and an unfinished line is a command (`printf LEAVE | nc`).
///
/// `scratch` is written to for a stuffed command only.
Step next_command(std::string_view bytes, Position position, bool last, std::string& scratch);

/// Appends `command` as one frame, stuffed only where it would be read otherwise, or as one line.
/// In a line what is not safe on a terminal, line ends first of all, is escaped as by printable():
/// lines are for people. kUnknown is taken for kFrames. The length is the caller's to keep.
void encode(std::string& out, std::string_view command, Framing framing);

}  // namespace serverd::tsam
