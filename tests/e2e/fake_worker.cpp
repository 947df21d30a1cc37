// Stands in for stream-worker where a test needs one that misbehaves: FAKE_WORKER says how, and for
// which port (others are served by doing nothing after READY=1). As a supervisor that is asked
// whether it can take over it never answers.
#include "common/handoff.h"
#include "common/notify.h"
#include "common/os/socket.h"
#include "common/parcel.h"

#include <csignal>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

namespace {

using namespace serverd;

/// What became of the parcels of a worker that dies after it took everything out: all is in the
/// next one. The first worker begins with a connection.
void park_again(const Handoff& handoff) {
  std::vector<UniqueFd> connections;
  for (const UniqueFd& parcel : handoff.parcels)
    for (UniqueFd& fd : take_out_of_parcel(parcel.get())) connections.push_back(std::move(fd));
  if (connections.empty())
    connections.push_back(UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  for (const UniqueFd& fd : connections) {
    const int number = fd.get();
    put_into_parcel(handoff.parcel_out.get(), {&number, 1});
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (std::string(argv[argc - 1]) == "--adopt-check") ::pause();
  const Handoff handoff = Handoff::from_supervisor(receive_descriptors());
  const auto port = std::to_string(SocketAddress::local_of(handoff.listeners.front().get()).port());
  const char* variable = std::getenv("FAKE_WORKER");  // "PORT:BEHAVIOUR"
  const std::string wish = variable == nullptr ? "" : variable;
  const std::string behaviour = wish.starts_with(port + ":") ? wish.substr(port.size() + 1) : "";
  if (behaviour.starts_with("exit-")) return std::atoi(behaviour.c_str() + 5);
  if (behaviour == "crash") std::abort();
  if (behaviour == "park-and-exit") {
    park_again(handoff);
    return 1;
  }
  if (behaviour == "hang-before-ready") ::pause();
  if (behaviour == "ignore-term") ::signal(SIGTERM, SIG_IGN);
  Notifier::from_environment().send("READY=1");
  if (behaviour == "crash-after-ready") std::abort();
  for (;;) ::pause();
}
