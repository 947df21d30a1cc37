#include "worker/packets/base64.h"

#include "tests/support/packets.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace serverd::packets {
namespace {

using namespace test;

std::string base64(const Buffer& bytes) {
  std::vector<char> room(base64_size(bytes.size()));
  const char* const end = write_base64(room.data(), bytes);
  EXPECT_EQ(end - room.data(), static_cast<std::ptrdiff_t>(room.size()));
  return {room.begin(), room.end()};
}

/// RFC 4648, section 10.
TEST(Base64, WritesTheExamplesOfTheRfc) {
  EXPECT_EQ(base64({}), "");
  EXPECT_EQ(base64(bytes_of("f")), "Zg==");
  EXPECT_EQ(base64(bytes_of("fo")), "Zm8=");
  EXPECT_EQ(base64(bytes_of("foo")), "Zm9v");
  EXPECT_EQ(base64(bytes_of("foob")), "Zm9vYg==");
  EXPECT_EQ(base64(bytes_of("fooba")), "Zm9vYmE=");
  EXPECT_EQ(base64(bytes_of("foobar")), "Zm9vYmFy");
}

TEST(Base64, WritesEachCharacterOfTheAlphabet) {
  Buffer bytes;
  for (std::uint32_t i = 0; i < 64; i += 4) {
    const std::uint32_t group = i << 18 | (i + 1) << 12 | (i + 2) << 6 | (i + 3);
    for (const int shift : {16, 8, 0}) bytes.push_back(static_cast<std::uint8_t>(group >> shift));
  }
  EXPECT_EQ(base64(bytes), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
  EXPECT_EQ(base64({0xff, 0xff, 0xff, 0xff}), "/////w==");
}

}  // namespace
}  // namespace serverd::packets
