#include "worker/packets/base64.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace serverd::packets {
namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

using Pair = std::array<char, 2>;

/// Two characters for every 12 bits: half as many look-ups as one for 6.
constexpr std::array<Pair, 4096> make_pairs() {
  std::array<Pair, 4096> pairs{};
  for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = {kAlphabet[i >> 6], kAlphabet[i & 63]};
  return pairs;
}
constexpr std::array<Pair, 4096> kPairs = make_pairs();

char* put(char* out, std::uint32_t bits) noexcept {
  std::memcpy(out, kPairs[bits].data(), sizeof(Pair));
  return out + sizeof(Pair);
}

}  // namespace

char* write_base64(char* out, wire::Bytes bytes) noexcept {
  const std::uint8_t* in = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 3; left -= 3, in += 3) {
    const std::uint32_t group = std::uint32_t{in[0]} << 16 | std::uint32_t{in[1]} << 8 | in[2];
    out = put(out, group >> 12);
    out = put(out, group & 0xfff);
  }
  if (left == 0) return out;
  const std::uint32_t group = std::uint32_t{in[0]} << 16 | (left == 2 ? in[1] << 8 : 0);
  out = put(out, group >> 12);
  out = put(out, group & 0xfff);
  for (; left < 3; ++left) out[static_cast<std::ptrdiff_t>(left) - 3] = '=';
  return out;
}

}  // namespace serverd::packets
