#include "supervisor/line_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace serverd {
namespace {

std::vector<std::string> taken_from(LineReader& reader) {
  std::vector<std::string> lines;
  while (auto line = reader.next()) lines.push_back(*line);
  return lines;
}

TEST(LineReader, GivesTheSameLinesHoweverTheyAreSplit) {
  const std::string stream = "one\ntwo\r\n\n\r\nthree \nfour";
  const std::vector<std::string> expected = {"one", "two", "three ", "four"};
  for (std::size_t first = 0; first <= stream.size(); ++first)
    for (std::size_t second = first; second <= stream.size(); ++second) {
      LineReader reader(10);
      std::vector<std::string> lines;
      for (const auto& [begin, end] : {std::pair(std::size_t{0}, first), std::pair(first, second),
                                       std::pair(second, stream.size())}) {
        reader.append(std::string_view(stream).substr(begin, end - begin));
        for (const std::string& line : taken_from(reader)) lines.push_back(line);
      }
      reader.end();
      for (const std::string& line : taken_from(reader)) lines.push_back(line);
      EXPECT_EQ(lines, expected) << "split at " << first << " and " << second;
    }
}

TEST(LineReader, GivesNothingBeforeTheLineEnds) {
  LineReader reader(10);
  reader.append("begin");
  EXPECT_FALSE(reader.has_line());
  EXPECT_FALSE(reader.next());
  reader.append("ning\n");
  EXPECT_TRUE(reader.has_line());
  EXPECT_EQ(reader.next(), "beginning");
  EXPECT_FALSE(reader.has_line());
}

TEST(LineReader, EmptyLinesAreNone) {
  LineReader reader(10);
  reader.append("\n\r\n\n");
  EXPECT_FALSE(reader.has_line());
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.overflown());
  reader.end();
  EXPECT_FALSE(reader.next());
}

TEST(LineReader, TakesTheLongestLineAndNoLonger) {
  for (const bool ended : {false, true}) {
    LineReader fits(5);
    fits.append(ended ? "12345\n" : "12345");
    EXPECT_FALSE(fits.overflown()) << ended;
    LineReader over(5);
    over.append(ended ? "123456\n" : "123456");
    EXPECT_TRUE(over.overflown()) << ended;
    EXPECT_FALSE(over.has_line()) << ended;
    EXPECT_FALSE(over.next()) << ended;
  }
}

TEST(LineReader, ALongLineIsFoundBehindGoodOnes) {
  LineReader reader(5);
  reader.append("good\ntoo long\n");
  EXPECT_EQ(reader.next(), "good");
  EXPECT_TRUE(reader.overflown());
  EXPECT_FALSE(reader.next());
}

}  // namespace
}  // namespace serverd
