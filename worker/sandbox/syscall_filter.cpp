#include "worker/sandbox/syscall_filter.h"

#include "common/os/error.h"

#include <cerrno>
#include <cstdlib>
#include <memory>

#include <seccomp.h>

namespace serverd {
namespace {

constexpr int kHighestNumber = 511;

struct Release {
  void operator()(void* filter) const noexcept { ::seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, Release>;

/// libseccomp gives -errno.
void check(int result, const std::string& what) {
  if (result < 0) throw_system_error(-result, what);
}

void add(scmp_filter_ctx filter, const SyscallRule& rule) {
  const int number = ::seccomp_syscall_resolve_name(rule.name);
  if (number < 0) return;  // of another architecture, or of a newer kernel
  std::array<scmp_arg_cmp, 2> comparisons{};
  unsigned count = 0;
  for (const ArgumentRule& argument : rule.arguments)
    if (argument.mask != 0)
      comparisons[count++] = {argument.argument, SCMP_CMP_MASKED_EQ, argument.mask, argument.value};
  check(::seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, comparisons.data()),
        std::string("seccomp rule for ") + rule.name);
}

}  // namespace

void allow_only(std::span<const SyscallRule> rules) {
  const Filter filter(::seccomp_init(SCMP_ACT_TRAP));
  if (!filter) throw_system_error(ENOMEM, "seccomp_init");
  // A binary tree, for those calls whose answer the kernel cannot remember.
  check(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "seccomp optimization");
  check(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_NNP, 0), "seccomp without no_new_privs");
  check(::seccomp_attr_set(filter.get(), SCMP_FLTATR_API_SYSRAWRC, 1), "seccomp error numbers");
  // We run no foreign code that would have to be kept from speculating; where the kernel does not
  // know the question it does nothing of that kind.
  static_cast<void>(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_SSB, 1));
  for (const SyscallRule& rule : rules) add(filter.get(), rule);
  check(::seccomp_load(filter.get()), "seccomp");
}

std::vector<std::string> syscall_names() {
  std::vector<std::string> names;
  for (int number = 0; number <= kHighestNumber; ++number) {
    char* name = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    names.emplace_back(name == nullptr ? "" : name);
    std::free(name);
  }
  return names;
}

}  // namespace serverd
