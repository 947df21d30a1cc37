#include "common/wire/tsam_frame.h"

#include <gtest/gtest.h>

#include <ostream>
#include <random>
#include <string>
#include <vector>

namespace serverd::tsam {
namespace {

const std::string kSoh = "\x01";
const std::string kEot = "\x04";
const std::string kEsc = "\x1b";

std::string frame(const std::string& content) { return kSoh + content + kEot; }

/// A receiver as the server has it: what is not consumed comes again, with more.
class Receiver final {
 public:
  void add(std::string_view bytes, bool last = false) {
    held_ += bytes;
    for (;;) {
      const Step step = next_command(held_, position_, last, scratch_);
      if (step.event == Event::kNeedMore) {
        EXPECT_EQ(step.consumed, 0U);
        break;
      }
      EXPECT_GT(step.consumed, 0U);
      take(step);
      position_ = step.next;
      held_.erase(0, step.consumed);
    }
    EXPECT_LT(held_.size(), kLongestFrame);
  }

  /// Commands, and "<too long>" where one was.
  std::vector<std::string> commands;
  std::string garbage;
  std::size_t skipped = 0;
  std::size_t held() const { return held_.size(); }
  Position position() const { return position_; }

 private:
  void take(const Step& step) {
    if (step.event == Event::kCommand) commands.emplace_back(step.text);
    if (step.event == Event::kTooLong) commands.emplace_back("<too long>");
    if (step.event == Event::kGarbage) garbage += step.text;
    if (step.event == Event::kSkipped) skipped += step.consumed;
  }

  std::string held_;
  std::string scratch_;
  Position position_;
};

Receiver received(const std::string& bytes, bool last = false) {
  Receiver receiver;
  receiver.add(bytes, last);
  return receiver;
}

std::vector<std::string> commands(const std::string& bytes, bool last = false) {
  return received(bytes, last).commands;
}

using Commands = std::vector<std::string>;

std::string encoded(const std::string& command, Framing framing = Framing::kFrames) {
  std::string out;
  encode(out, command, framing);
  return out;
}

TEST(TsamFrame, TakesSeveralFramesOfOneSegment) {
  EXPECT_EQ(commands(frame("HELO,A5_1") + frame("") + frame("SENDMSG,a,b,x, y")),
            (Commands{"HELO,A5_1", "", "SENDMSG,a,b,x, y"}));
}

TEST(TsamFrame, TakesLinesWithEitherEnd) {
  EXPECT_EQ(commands("SERVERS\r\n\nLEAVE\n"), (Commands{"SERVERS", "", "LEAVE"}));
  EXPECT_EQ(commands("a\rb\r\r\n"), (Commands{"a\rb\r"})) << "only the CR at the line end is its";
}

TEST(TsamFrame, TheFirstByteDecides) {
  EXPECT_EQ(received(frame("A")).position().framing, Framing::kFrames);
  EXPECT_EQ(received("\n" + frame("A")).position().framing, Framing::kLines);
  EXPECT_EQ(commands("\n" + frame("A") + "\n"), (Commands{"", frame("A")}));
  EXPECT_EQ(received("").position().framing, Framing::kUnknown);
}

TEST(TsamFrame, EscapesAreDecodedBeforeTheThreeBytesOnly) {
  EXPECT_EQ(commands(frame("a" + kEsc + kSoh + kEsc + kEot + kEsc + kEsc + "b")),
            (Commands{"a" + kSoh + kEot + kEsc + "b"}));
  EXPECT_EQ(commands(frame(kEsc + "[31mred" + kEsc + "[0m")),
            (Commands{kEsc + "[31mred" + kEsc + "[0m"}));
}

TEST(TsamFrame, AZeroByteIsData) {
  const std::string text{"a\0b\0", 4};
  EXPECT_EQ(commands(frame(text)), (Commands{text}));
  EXPECT_EQ(commands("x" + text + "\n"), (Commands{"x" + text}));
}

TEST(TsamFrame, StuffsOnlyWhatWouldBeReadOtherwise) {
  EXPECT_EQ(encoded("SERVERS"), frame("SERVERS"));
  EXPECT_EQ(encoded(kEsc + "[0m"), frame(kEsc + "[0m"));
  EXPECT_EQ(encoded(kSoh + kEot), frame(kEsc + kSoh + kEsc + kEot));
  EXPECT_EQ(encoded("x" + kEsc), frame("x" + kEsc + kEsc));
  EXPECT_EQ(encoded(kEsc + kEsc + "x"), frame(kEsc + kEsc + kEsc + "x"));
  EXPECT_EQ(encoded("A", Framing::kUnknown), frame("A"));
}

TEST(TsamFrame, NothingInACommandBreaksALine) {
  EXPECT_EQ(encoded("SENDMSG,a,b,x\r\nLEAVE\x04\x1b[2J", Framing::kLines),
            "SENDMSG,a,b,x\\x0d\\x0aLEAVE\\x04\\x1b[2J\n");
  EXPECT_EQ(encoded("höfuð", Framing::kLines), "höfuð\n");
}

TEST(TsamFrame, EverySplitGivesTheSameCommands) {
  const std::string framed = frame("HELO,A5_1") + "\r\n" + frame("") + frame(kEsc + kEot + "x") +
                             kSoh + "lost" + frame(kEsc + kEsc) + frame(kEsc + "c" + kEsc + kSoh);
  const Commands of_frames = {"HELO,A5_1", "", kEot + "x", kEsc, kEsc + "c" + kSoh};
  const std::string lines = "SERVERS\r\n\n\r\nSENDMSG bob hi\nLEAVE\r";
  const Commands of_lines = {"SERVERS", "", "", "SENDMSG bob hi", "LEAVE"};
  for (const auto& [stream, expected] :
       {std::pair(framed, of_frames), std::pair(lines, of_lines)}) {
    for (std::size_t i = 0; i <= stream.size(); ++i) {
      for (std::size_t j = i; j <= stream.size(); ++j) {
        Receiver receiver;
        receiver.add(stream.substr(0, i));
        receiver.add(stream.substr(i, j - i));
        receiver.add(stream.substr(j), true);
        EXPECT_EQ(receiver.commands, expected) << "split at " << i << " and " << j;
      }
    }
  }
}

TEST(TsamFrame, ByteByByteGivesTheSameAroundTheLimit) {
  for (const std::size_t size : {4'999U, 5'000U, 5'001U, 5'002U, 6'000U}) {
    const std::string content(size, 'x');
    const std::string stuffed(2 * size, '\x1b');
    const std::string result = size <= kLongestCommand ? "fits" : "<too long>";
    for (const std::string& stream : {frame(content) + frame("B"), frame(stuffed) + frame("B"),
                                      content + "\nB\n", content + "\r\nB\n"}) {
      Receiver receiver;
      for (const char c : stream) receiver.add({&c, 1});
      ASSERT_EQ(receiver.commands.size(), 2U) << size;
      EXPECT_EQ(receiver.commands[0].size() == size ? "fits" : receiver.commands[0], result);
      EXPECT_EQ(receiver.commands[1], "B");
      EXPECT_EQ(receiver.commands, commands(stream)) << size;
      EXPECT_EQ(receiver.held(), 0U);
    }
  }
}

TEST(TsamFrame, AFrameWithoutEndHoldsNoMoreThanTheLimit) {
  for (const std::string& begin : {kSoh, kSoh + kEsc, std::string("x")}) {
    Receiver receiver = received(begin);
    for (int i = 0; i < 1'000; ++i) receiver.add(std::string(997, i % 2 == 0 ? '\x1b' : 'x'));
    EXPECT_EQ(receiver.commands, (Commands{"<too long>"})) << "said once";
    EXPECT_LE(receiver.held(), 1U);
    EXPECT_TRUE(receiver.position().skipping);
  }
}

TEST(TsamFrame, HoldsTheLongestCommandUntilItsEnd) {
  Receiver receiver = received(kSoh + std::string(2 * kLongestCommand, '\x1b'));
  EXPECT_EQ(receiver.commands, Commands{});
  EXPECT_EQ(receiver.held(), kLongestFrame - 1);
  receiver.add(kEsc);
  EXPECT_EQ(receiver.commands, (Commands{"<too long>"})) << "whatever follows the ESC";
}

TEST(TsamFrame, SkippingEndsWithTheFrameAndNotWithAnEscapedEnd) {
  const std::string filler(kLongestCommand + 1, 'x');
  EXPECT_EQ(commands(frame(filler + kEsc + kEot + "LEAVE") + frame("B")),
            (Commands{"<too long>", "B"}));
  EXPECT_EQ(commands(kSoh + filler + frame("B")), (Commands{"<too long>", "B"}))
      << "SOH begins a frame here too";
  Receiver receiver = received(kSoh + filler);
  receiver.add(frame("B"));
  EXPECT_EQ(receiver.commands, (Commands{"<too long>", "B"})) << "a split just before it";
}

TEST(TsamFrame, TellsTheBeginningOfWhatIsTooLong) {
  std::string scratch;
  const std::string command = "SENDMSG,bob," + std::string(kLongestCommand, 'x');
  for (const std::string& bytes : {frame(command), command + "\n"}) {
    const Step step = next_command(bytes, {}, false, scratch);
    EXPECT_EQ(step.event, Event::kTooLong);
    EXPECT_EQ(step.text, command.substr(0, kLongestCommand));
  }
}

TEST(TsamFrame, GarbageBetweenFramesIsReportedAndCostsNoFrame) {
  const Receiver receiver = received(frame("A") + "xy\x04\x1b" + frame("B") + "\r\n" + frame("C"));
  EXPECT_EQ(receiver.commands, (Commands{"A", "B", "C"}));
  EXPECT_EQ(receiver.garbage, "xy\x04\x1b\r\n");
}

TEST(TsamFrame, AStartWithinAFrameBeginsAnother) {
  const Receiver receiver = received(frame("A") + kSoh + "lost its en" + frame("B"));
  EXPECT_EQ(receiver.commands, (Commands{"A", "B"}));
  EXPECT_EQ(receiver.garbage, kSoh + "lost its en");
}

TEST(TsamFrame, TheEndOfTheConnectionEndsALineButNoFrame) {
  EXPECT_EQ(commands("LEAVE"), Commands{});
  EXPECT_EQ(commands("LEAVE", true), (Commands{"LEAVE"}));
  EXPECT_EQ(commands("LEAVE\r", true), (Commands{"LEAVE"}));
  const Receiver receiver = received(kSoh + "LEAVE" + kEsc, true);
  EXPECT_EQ(receiver.commands, Commands{});
  EXPECT_EQ(receiver.garbage, kSoh + "LEAVE" + kEsc);
}

TEST(TsamFrame, WhatIsEncodedIsDecodedAgain) {
  std::mt19937 random(1);
  const std::string alphabet = kSoh + kEot + kEsc + "a,\n" + std::string(1, '\0');
  for (int round = 0; round < 3'000; ++round) {
    std::string command(random() % 12, '\0');
    for (char& c : command) c = alphabet[random() % alphabet.size()];
    const std::string wire = encoded(command);
    ASSERT_EQ(commands(wire + encoded("next")), (Commands{command, "next"}));
    ASSERT_LE(wire.size(), 2 * command.size() + 2);
  }
}

}  // namespace
}  // namespace serverd::tsam
