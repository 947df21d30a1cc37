#pragma once

#include "common/os/unique_fd.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace serverd {

/// A parcel: connections parked in the receive queue of a UNIX socket, where they outlive the
/// process that had them. One end is held and never read by the supervisor until it hands it to the
/// next worker; descriptors are put in at the other, whose closing is the parcel's end.
struct Parcel {
  UniqueFd held;
  UniqueFd entrance;
};

/// Throws std::system_error.
Parcel make_parcel();

/// How many descriptors go into one message: SCM_MAX_FD of the kernel, see unix(7).
inline constexpr std::size_t kParcelMessageSize = 253;

/// The text of messages with duplicates of connections that all had their place in the ledger. What
/// a keeper parks may also have been accepted a moment before.
inline constexpr std::string_view kSnapshotText = "s";

/// Puts at most kParcelMessageSize borrowed descriptors into `entrance` without blocking, with a
/// text of at least one byte. 0, or an errno value: ETOOMANYREFS (too many in flight) and EAGAIN
/// pass with time. Async-signal-safe.
int put_into_parcel(int entrance, std::span<const int> descriptors,
                    std::string_view text = "c") noexcept;

/// Takes everything out of `held` that is there now, in order. What cannot be taken because
/// descriptors have run out stays lost in the message it was in; the log says so.
std::vector<UniqueFd> take_out_of_parcel(int held);

/// One message of a parcel.
struct ParcelMessage {
  std::string text;
  std::vector<UniqueFd> descriptors;
};

/// As take_out_of_parcel, with the texts.
std::vector<ParcelMessage> take_messages_out_of_parcel(int held);

/// Duplicates of all that take_messages_out_of_parcel would give, which stays where it is.
std::vector<ParcelMessage> look_into_parcel(int held);

/// True if `fd` may be the held end of one, by its kind.
bool is_parcel(int fd) noexcept;

/// True once the entrance is closed everywhere: nothing more will come.
bool parcel_complete(int held) noexcept;

/// True if there is something to take out.
bool parcel_filled(int held) noexcept;

}  // namespace serverd
