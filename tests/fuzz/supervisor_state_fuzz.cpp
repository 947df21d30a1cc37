#include "common/ledger.h"
#include "common/os/memfd.h"
#include "common/parcel.h"
#include "supervisor/supervisor_state.h"
#include "tests/support/open_descriptors.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>

/// What a supervisor of another version has left in the service manager's store. Whatever that is:
/// what can be used is taken and the rest closed, the store keeps all of it, and no descriptor
/// stays open. What an upgrade hands over is taken as a whole or refused.
///
/// Input: messages, one a line: a letter for each descriptor that goes with it (c settings, l
/// ledger, s socket, p parcel, anything else /dev/null), a space, then the message's text.
namespace {

using namespace serverd;
using test::open_descriptors;

constexpr std::size_t kMostMessages = 16;

struct Things {
  UniqueFd config = sealed_text(
      "config", "[[service]]\nname = \"capture\"\nprotocol = \"stream\"\noutput = \"/srv\"\n");
  UniqueFd ledger = ledger::create(5000, "stream", 4);
  UniqueFd socket = UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Parcel parcel = make_parcel();
  UniqueFd nothing = UniqueFd::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC));

  int of_kind(char letter) const {
    switch (letter) {
      case 'c':
        return config.get();
      case 'l':
        return ledger.get();
      case 's':
        return socket.get();
      case 'p':
        return parcel.held.get();
      default:
        return nothing.get();
    }
  }
};

/// The held end of a parcel with the messages of `input`.
UniqueFd parcel_of(const Things& things, std::string_view input) {
  Parcel parcel = make_parcel();
  for (std::size_t count = 0; !input.empty() && count < kMostMessages; ++count) {
    const std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(input.size(), line.size() + 1));
    const std::string_view kinds = line.substr(0, line.find(' '));
    const std::string_view text = line.substr(std::min(line.size(), kinds.size() + 1));
    std::vector<int> descriptors;
    for (const char letter : kinds.substr(0, kParcelMessageSize))
      descriptors.push_back(things.of_kind(letter));
    // A message without text or descriptors, or one too long, does not go in.
    if (!text.empty() && !descriptors.empty())
      put_into_parcel(parcel.entrance.get(), descriptors, text);
  }
  return std::move(parcel.held);
}

std::size_t descriptors_in(int parcel) {
  std::size_t count = 0;
  for (const ParcelMessage& message : look_into_parcel(parcel)) count += message.descriptors.size();
  return count;
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "supervisor_state_fuzz: %s\n", what);
  std::abort();
}

void try_input(const Things& things, std::string_view input) {
  const UniqueFd parcel = parcel_of(things, input);
  const std::size_t there = descriptors_in(parcel.get());
  {
    const SupervisorState kept = unpack_kept_state(parcel.get());
    require_usable(kept);  // throws: what was taken is not of use
    require(!kept.upgraded, "what was kept is no upgrade");
  }
  require(descriptors_in(parcel.get()) == there, "the store has lost something");
  try {
    require_usable(unpack_state(parcel.get()));
  } catch (const HandoffError&) {
    // refused, in words
  }
  require(!parcel_filled(parcel.get()), "an upgrade leaves nothing behind");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Things things;
  const std::size_t open_before = open_descriptors();
  try_input(things, {reinterpret_cast<const char*>(data), size});
  require(open_descriptors() == open_before, "a descriptor stays open");
  return 0;
}
