#pragma once

#include "common/wire/bytes.h"

#include <cstdint>
#include <optional>

namespace serverd::packets {

struct TcpOption {
  std::uint8_t type = 0;
  std::uint8_t length = 1;          ///< of the whole option
  std::optional<wire::Bytes> data;  ///< empty where the type has no length byte
};

/// Takes a TCP header's options one by one (RFC 9293, section 3.1; all types: IANA's registry).
class TcpOptions final {
 public:
  enum Type : std::uint8_t { kEnd = 0, kNoOperation = 1 };

  explicit TcpOptions(wire::Bytes options) noexcept : rest_(options) {}

  /// The next option, End-of-Options too; empty at the end, and before one that is cut or whose
  /// length cannot be.
  std::optional<TcpOption> next() noexcept;
  /// What stands behind End-of-Options; empty before that was taken.
  const std::optional<wire::Bytes>& padding() const noexcept { return padding_; }

 private:
  wire::Bytes rest_;
  std::optional<wire::Bytes> padding_;
};

}  // namespace serverd::packets
