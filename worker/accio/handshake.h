#pragma once

#include <cstddef>
#include <span>

namespace serverd::accio {

/// What the server says when it has accepted a connection, and again after the first confirmation.
inline constexpr char kGreeting[] = "accio\r\n";
/// What a client of the second kind answers, first and then. PROTOCOLS: accio.
inline constexpr char kConfirmation[] = "confirm-accio\r\n";
inline constexpr char kConfirmationAgain[] = "confirm-accio-again\r\n\r\n";

enum class Verdict {
  kUndecided,     ///< a beginning of the confirmations; more must come
  kHandshake,     ///< `confirmations` bytes are no part of the file, what follows is
  kFileFromStart  ///< this client sends its file at once: every byte belongs to it
};

struct HandshakeResult {
  Verdict verdict;
  std::size_t confirmations = 0;  ///< bytes, with kHandshake
  bool greet_again = false;       ///< the first confirmation is whole
};

/// Judges the first bytes of a connection, all of them from the first on, at least one. `last`:
/// nothing follows them. A connection that ends between the two confirmations has sent no file; one
/// that ends within a confirmation has sent these bytes as its file.
HandshakeResult judge_handshake(std::span<const std::byte> bytes, bool last) noexcept;

}  // namespace serverd::accio
