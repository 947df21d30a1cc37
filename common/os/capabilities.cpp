#include "common/os/capabilities.h"

#include "common/os/error.h"

#include <array>

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace serverd {
namespace {

/// The three sets of a process as numbers; capabilities(7).
struct Sets {
  std::uint64_t effective = 0;
  std::uint64_t permitted = 0;
  std::uint64_t inheritable = 0;
};

using Words = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

std::uint64_t joined(std::uint32_t low, std::uint32_t high) {
  return low | (static_cast<std::uint64_t>(high) << 32);
}

Sets own_sets() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Words words{};
  check_call(static_cast<int>(::syscall(SYS_capget, &header, words.data())), "capget");
  return {joined(words[0].effective, words[1].effective),
          joined(words[0].permitted, words[1].permitted),
          joined(words[0].inheritable, words[1].inheritable)};
}

long set(const Sets& sets) noexcept {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Words words{};
  for (unsigned i = 0; i < words.size(); ++i) {
    words[i].effective = static_cast<std::uint32_t>(sets.effective >> (32 * i));
    words[i].permitted = static_cast<std::uint32_t>(sets.permitted >> (32 * i));
    words[i].inheritable = static_cast<std::uint32_t>(sets.inheritable >> (32 * i));
  }
  return ::syscall(SYS_capset, &header, words.data());
}

}  // namespace

void drop_capabilities(std::optional<unsigned> kept) {
  // Permitted for those with CAP_SETPCAP; for others there is nothing to lose.
  for (unsigned capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    if (capability != kept) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  const Sets own = own_sets();
  const std::uint64_t keep = own.permitted & (kept ? std::uint64_t{1} << *kept : 0);
  // Who has nothing to give up may not be allowed to call capset(2), as under systemd.exec(5)'s
  // SystemCallFilter=~@privileged.
  if (((own.effective | own.permitted | own.inheritable) & ~keep) == 0) return;
  check_call(static_cast<int>(set({keep, keep, 0})), "capset");
}

WithoutCapabilities::WithoutCapabilities() : effective_(own_sets().effective) {
  Sets sets = own_sets();
  sets.effective = 0;
  check_call(static_cast<int>(set(sets)), "capset");
}

WithoutCapabilities::~WithoutCapabilities() {
  try {
    Sets sets = own_sets();
    sets.effective = effective_;
    set(sets);
  } catch (const std::exception&) {  // what was set can be read
  }
}

}  // namespace serverd
