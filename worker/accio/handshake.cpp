#include "worker/accio/handshake.h"

#include <algorithm>
#include <string_view>

namespace serverd::accio {
namespace {

constexpr std::size_t kFirst = std::string_view(kConfirmation).size();
constexpr std::size_t kBoth = kFirst + std::string_view(kConfirmationAgain).size();

constexpr char expected(std::size_t i) {
  return i < kFirst ? kConfirmation[i] : kConfirmationAgain[i - kFirst];
}

std::size_t matching(std::span<const std::byte> bytes) noexcept {
  const std::size_t most = std::min(bytes.size(), kBoth);
  std::size_t i = 0;
  while (i < most && static_cast<char>(bytes[i]) == expected(i)) ++i;
  return i;
}

}  // namespace

HandshakeResult judge_handshake(std::span<const std::byte> bytes, bool last) noexcept {
  const std::size_t count = matching(bytes);
  const bool first_is_whole = count >= kFirst;
  if (count == kBoth) return {Verdict::kHandshake, kBoth, true};
  if (count < bytes.size()) return {Verdict::kFileFromStart, 0, first_is_whole};
  if (!last) return {Verdict::kUndecided, 0, first_is_whole};
  if (count == kFirst) return {Verdict::kHandshake, kFirst, true};
  return {Verdict::kFileFromStart, 0, first_is_whole};
}

}  // namespace serverd::accio
