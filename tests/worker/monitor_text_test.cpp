#include "worker/monitor/monitor_text.h"

#include "common/printable.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace serverd::monitor {
namespace {

using Lines = std::vector<std::string>;

constexpr std::size_t kLongest = 32;

/// What is shown of bytes that arrive in `chunks`: a piece an item, with a line end where its line
/// is whole.
Lines shown(const Lines& chunks, std::size_t longest = kLongest) {
  Lines pieces;
  std::string waiting;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    waiting += chunks[i];
    while (!waiting.empty()) {
      const Piece piece = next_piece(waiting, longest, i + 1 == chunks.size());
      EXPECT_LE(piece.length, longest);
      if (piece.length == 0) break;
      pieces.push_back(printable(piece.text) + (piece.whole_line ? "\n" : ""));
      waiting.erase(0, piece.length);
    }
  }
  EXPECT_EQ(waiting, "") << "the last chunk leaves nothing";
  return pieces;
}

TEST(MonitorText, NamesAPeerAsItAlwaysWas) {
  EXPECT_EQ(peer_text(*SocketAddress::from_host("127.0.0.1", 33406)), "('127.0.0.1', 33406)");
  EXPECT_EQ(peer_text(*SocketAddress::from_host("::1", 7)), "('::1', 7)");
}

TEST(MonitorText, ShowsLinesWithoutTheirEnds) {
  EXPECT_EQ(shown({"one\ntwo\r\n\n\r\nrest"}), (Lines{"one\n", "two\n", "\n", "\n", "rest"}));
}

TEST(MonitorText, ShowsWhatIsNoWholeLineAtOnce) {
  EXPECT_EQ(shown({"pass", "word: \n"}), (Lines{"pass", "word: \n"}));
}

TEST(MonitorText, TakesACarriageReturnInTheMiddleOfALineForText) {
  EXPECT_EQ(shown({"a\rb\r\r\n"}), (Lines{"a\\x0db\\x0d\n"}));
}

TEST(MonitorText, ALineEndThatIsSplitIsOne) {
  EXPECT_EQ(shown({"line\r", "\nnext\n"}), (Lines{"line", "\n", "next\n"}));
}

TEST(MonitorText, ACarriageReturnThatNoLineFeedFollowsIsShown) {
  EXPECT_EQ(shown({"line\r", "more\n"}), (Lines{"line", "\\x0dmore\n"}));
  EXPECT_EQ(shown({"line\r"}), (Lines{"line\\x0d"}));
}

TEST(MonitorText, ACharacterIsNotTornWhereverItIsSplit) {
  for (const std::string character : {"é", "€", "𝄞", "\xF4\x8F\xBF\xBF"})
    for (std::size_t split = 1; split < character.size(); ++split)
      EXPECT_EQ(shown({"a" + character.substr(0, split), character.substr(split) + "b\n"}),
                (Lines{"a", character + "b\n"}))
          << character << " split at " << split;
}

TEST(MonitorText, ACharacterThatStaysTornIsEscapedAtTheEnd) {
  EXPECT_EQ(shown({"a\xE2\x82"}), (Lines{"a\\xe2\\x82"}));
  EXPECT_EQ(shown({"\xF0\x9D"}), (Lines{"\\xf0\\x9d"}));
}

TEST(MonitorText, BytesThatBeginNoCharacterDoNotWait) {
  for (const std::string bytes :
       {"\x80", "\xBF\xBF\xBF\xBF", "\xC0", "\xC1", "\xF5", "\xFF", "\xFE"})
    EXPECT_EQ(next_piece(bytes, kLongest, false).length, bytes.size()) << printable(bytes);
}

TEST(MonitorText, EscapesWhatIsNoText) {
  EXPECT_EQ(shown({std::string("\0\x1b[2J\x7f\xff\xC0\xAF\xED\xA0\x80", 12)}),
            (Lines{"\\x00\\x1b[2J\\x7f\\xff\\xc0\\xaf\\xed\\xa0\\x80"}));
  EXPECT_EQ(shown({"\xC2\x9B"
                   "31m\n"}),
            (Lines{"\\u009b31m\n"}));
}

TEST(MonitorText, DividesALongLineBetweenCharacters) {
  std::string line;
  for (int i = 0; i < 40; ++i) line += "€";  // 120 bytes, of which 10 whole ones fit into 32
  const Lines pieces = shown({line + "\n"});
  const std::string ten = line.substr(0, 30);
  EXPECT_EQ(pieces, (Lines{ten, ten, ten, ten + "\n"}));
}

TEST(MonitorText, ALineAsLongAsAPieceEndsWithItsEnd) {
  const std::string full(kLongest, 'x');
  EXPECT_EQ(shown({full + "\n"}), (Lines{full, "\n"}));
  EXPECT_EQ(shown({full.substr(1) + "\n"}), (Lines{full.substr(1) + "\n"}));
  EXPECT_EQ(shown({full.substr(1) + "\r\n"}), (Lines{full.substr(1), "\n"}));
}

TEST(MonitorText, AlwaysGetsOnWhenMoreThanAPieceIsThere) {
  for (const char byte : {'\r', '\xE2', '\x80', '\xF0', 'x', '\0'})
    EXPECT_GT(next_piece(std::string(9, byte), 8, false).length, 0U) << static_cast<int>(byte);
}

}  // namespace
}  // namespace serverd::monitor
