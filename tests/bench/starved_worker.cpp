// Stands in for stream-worker in the crash-loop row. The worker of the port in
// BENCH_STARVED_PORT may open so few descriptors that it dies while it starts; every other one is
// the real worker as it is. BENCH_WORKER names the real program.

#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

int main(int argc, char** argv) {
  const char* program = std::getenv("BENCH_WORKER");
  const char* port = std::getenv("BENCH_STARVED_PORT");
  if (program == nullptr || port == nullptr || argc < 1) return 78;
  const std::string ending = std::string(":") + port;
  if (std::string(argv[0]).ends_with(ending)) {
    const rlimit handed_over_and_hardly_more{8, 8};
    ::setrlimit(RLIMIT_NOFILE, &handed_over_and_hardly_more);
  }
  ::execv(program, argv);
  return 71;
}
