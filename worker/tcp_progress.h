#pragma once

#include <cstdint>
#include <optional>

namespace serverd {

/// How many bytes of its peer's stream have been taken out of the connected TCP socket `fd`: what
/// the kernel received (tcpi_bytes_received, which counts a FIN as one) less what is still queued
/// (SIOCINQ, which does not). See tcp(7). Empty if `fd` cannot be asked.
std::optional<std::uint64_t> bytes_taken_from(int fd) noexcept;

/// Whether `bytes_taken_from(fd)` is `expected`, found out with fewer system calls where nothing
/// arrives meanwhile.
bool has_taken(int fd, std::uint64_t expected) noexcept;

/// Which side of a connection we are.
enum class Opener { kPeer, kUs };

/// How many bytes have been written to the connected TCP socket `fd`: those that the peer has
/// acknowledged (tcpi_bytes_acked, which counts our SYN as one where we connected) and those that
/// are still queued (SIOCOUTQ). Empty if `fd` cannot be asked.
std::optional<std::uint64_t> bytes_written_to(int fd, Opener opener = Opener::kPeer) noexcept;

/// True if we have ended our side of the connection, or there is nothing left of it.
bool is_shut_down(int fd) noexcept;

/// SIOCINQ: bytes waiting in the socket, 0 if it cannot be asked.
std::uint64_t bytes_waiting_in(int fd) noexcept;

}  // namespace serverd
