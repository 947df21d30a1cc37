// Stands in for stream-worker where a test needs one that misbehaves: FAKE_WORKER says how, and for
// which port (others are served by doing nothing after READY=1).
#include "common/handoff.h"
#include "common/notify.h"
#include "common/os/socket.h"

#include <csignal>
#include <cstdlib>
#include <string>

#include <unistd.h>

int main() {
  using namespace serverd;
  const Handoff handoff = Handoff::from_supervisor(receive_descriptors());
  const auto port = std::to_string(SocketAddress::local_of(handoff.listeners.front().get()).port());
  const char* variable = std::getenv("FAKE_WORKER");  // "PORT:BEHAVIOUR"
  const std::string wish = variable == nullptr ? "" : variable;
  const std::string behaviour = wish.starts_with(port + ":") ? wish.substr(port.size() + 1) : "";
  if (behaviour.starts_with("exit-")) return std::atoi(behaviour.c_str() + 5);
  if (behaviour == "crash") std::abort();
  if (behaviour == "hang-before-ready") ::pause();
  if (behaviour == "ignore-term") ::signal(SIGTERM, SIG_IGN);
  Notifier::from_environment().send("READY=1");
  if (behaviour == "crash-after-ready") std::abort();
  for (;;) ::pause();
}
