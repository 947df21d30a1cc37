#include "worker/accio/handshake.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>

namespace serverd::accio {

void PrintTo(const HandshakeResult& result, std::ostream* out) {
  constexpr const char* kNames[] = {"undecided", "handshake", "file from start"};
  *out << kNames[static_cast<int>(result.verdict)] << ", " << result.confirmations
       << " bytes confirm" << (result.greet_again ? ", greet again" : "");
}

bool operator==(const HandshakeResult& a, const HandshakeResult& b) {
  return a.verdict == b.verdict && a.confirmations == b.confirmations &&
         a.greet_again == b.greet_again;
}

namespace {

// Written out, so that a slip in the header is seen.
const std::string kFirst = "confirm-accio\r\n";
const std::string kSecond = "confirm-accio-again\r\n\r\n";
const std::string kBoth = kFirst + kSecond;

HandshakeResult judge(const std::string& bytes, bool last) {
  return judge_handshake(std::as_bytes(std::span(bytes)), last);
}

TEST(AccioHandshake, SaysWhatTheProtocolSays) {
  EXPECT_EQ(std::string(kGreeting), "accio\r\n");
  EXPECT_EQ(std::string(kConfirmation), kFirst);
  EXPECT_EQ(std::string(kConfirmationAgain), kSecond);
}

TEST(AccioHandshake, IsUndecidedAtEveryPositionWithinTheConfirmations) {
  for (std::size_t n = 1; n < kBoth.size(); ++n)
    EXPECT_EQ(judge(kBoth.substr(0, n), false),
              (HandshakeResult{Verdict::kUndecided, 0, n >= kFirst.size()}))
        << n << " bytes";
}

TEST(AccioHandshake, IsOverWithItsLastByteWhateverFollows) {
  const HandshakeResult over{Verdict::kHandshake, kBoth.size(), true};
  for (const std::string rest : {"", "x", "confirm-accio\r\n", "\r\n"})
    for (const bool last : {false, true}) EXPECT_EQ(judge(kBoth + rest, last), over) << rest;
}

TEST(AccioHandshake, AConnectionThatEndsWithinAConfirmationHasSentAFile) {
  for (std::size_t n = 1; n < kBoth.size(); ++n) {
    if (n == kFirst.size()) continue;
    EXPECT_EQ(judge(kBoth.substr(0, n), true),
              (HandshakeResult{Verdict::kFileFromStart, 0, n > kFirst.size()}))
        << n << " bytes";
  }
}

TEST(AccioHandshake, AConnectionThatEndsBetweenTheConfirmationsHasSentNoFile) {
  EXPECT_EQ(judge(kFirst, true), (HandshakeResult{Verdict::kHandshake, kFirst.size(), true}));
}

TEST(AccioHandshake, TheFirstByteThatDiffersMakesEverythingFile) {
  for (std::size_t n = 0; n < kBoth.size(); ++n) {
    std::string bytes = kBoth.substr(0, n + 1);
    bytes[n] = static_cast<char>(bytes[n] ^ 1);
    for (const std::string rest : {"", "more"})
      for (const bool last : {false, true})
        EXPECT_EQ(judge(bytes + rest, last),
                  (HandshakeResult{Verdict::kFileFromStart, 0, n >= kFirst.size()}))
            << "byte " << n << " differs";
  }
}

TEST(AccioHandshake, TakesNeitherOtherLineEndsNorOtherCaseForAConfirmation) {
  for (const std::string bytes :
       {"confirm-accio\n", "Confirm-accio\r\n", " confirm-accio\r\n", "accio\r\n", "\r\n"})
    EXPECT_EQ(judge(bytes, false).verdict, Verdict::kFileFromStart) << bytes;
}

TEST(AccioHandshake, AZeroByteIsNotTheEndOfAConfirmation) {
  EXPECT_EQ(judge(kBoth.substr(0, kBoth.size()) + std::string(1, '\0'), false).confirmations,
            kBoth.size());
  EXPECT_EQ(judge(kFirst + std::string(1, '\0'), false),
            (HandshakeResult{Verdict::kFileFromStart, 0, true}));
}

}  // namespace
}  // namespace serverd::accio
