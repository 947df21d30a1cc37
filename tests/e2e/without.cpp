// without landlock|seccomp PROGRAM ARGUMENT...: on a system that does not have it
#include "tests/support/missing_syscall.h"

#include <cstdio>
#include <string>

#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  if (argv[1] == std::string("landlock")) serverd::test::make_landlock_missing();
  if (argv[1] == std::string("seccomp")) serverd::test::make_seccomp_missing();
  ::execvp(argv[2], argv + 2);
  std::perror(argv[2]);
  return 127;
}
