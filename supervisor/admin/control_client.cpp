#include "supervisor/admin/control_client.h"

#include "common/exit_code.h"
#include "common/os/descriptor_message.h"
#include "common/os/error.h"
#include "supervisor/admin/admin_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <variant>

#include <sys/socket.h>

namespace serverd {
namespace {

constexpr std::size_t kLongestReply = std::size_t{64} << 20;
constexpr std::size_t kMaxDescriptors = 253;

/// The daemon has closed the connection instead of answering.
class NoAnswer final : public std::exception {};

[[noreturn]] void refused(const ControlOutcome& outcome) {
  throw AdminError(outcome.code == 0 ? kExitSystem : outcome.code, outcome.error, outcome.reasons);
}

}  // namespace

ControlClient::ControlClient(const AdminOptions& options)
    : options_(options),
      instance_(find_instance(runtime_roots(options.runtime_dir), options.name)) {
  options_.name = instance_.name;
}

pid_t ControlClient::daemon() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  check_call(::getsockopt(instance_.control.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size),
             "SO_PEERCRED");
  return credentials.pid;
}

ControlClient::Reply ControlClient::ask(const ControlRequest& request) {
  const std::string line = request_text(request) + "\n";
  // One small line into an empty queue goes as a whole.
  const ssize_t sent = ::send(instance_.control.get(), line.data(), line.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(line.size())) throw NoAnswer();
  Reply reply;
  while (reply.line.empty() || reply.line.back() != '\n')
    if (!receive_part(reply)) throw NoAnswer();
  reply.line.pop_back();
  return reply;
}

/// False at the end of file.
bool ControlClient::receive_part(Reply& reply) const {
  char bytes[65536];
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  iovec part{bytes, sizeof bytes};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(instance_.control.get(), &header, MSG_CMSG_CLOEXEC);
  const int error = errno;
  if (n < 0 && error == EINTR) return true;
  if (n < 0 && error == EAGAIN)
    throw AdminError(kExitIo, fmt::format("instance '{}' does not answer", instance_.name));
  if (n <= 0) return false;
  for (UniqueFd& fd : received_descriptors(header)) reply.descriptors.push_back(std::move(fd));
  reply.line.append(bytes, static_cast<std::size_t>(n));
  if (reply.line.size() > kLongestReply)
    throw AdminError(kExitBug, "the daemon's reply has no end");
  return true;
}

ControlClient::Reply ControlClient::ask_to_see(const ControlRequest& request) {
  try {
    return ask(request);
  } catch (const NoAnswer&) {
    instance_ = find_instance(runtime_roots(options_.runtime_dir), options_.name);
  }
  try {
    return ask(request);
  } catch (const NoAnswer&) {
    throw AdminError(kExitIo, fmt::format("instance '{}' does not answer", instance_.name));
  }
}

InstanceStatus ControlClient::status() {
  auto parsed = parse_status(ask_to_see({ControlCommand::kStatus, 0, {}}).line);
  if (const auto* outcome = std::get_if<ControlOutcome>(&parsed)) refused(*outcome);
  return std::get<InstanceStatus>(std::move(parsed));
}

ControlClient::Ledgers ControlClient::ledgers(std::uint16_t port) {
  Reply reply = ask_to_see({ControlCommand::kLedger, port, {}});
  auto parsed = parse_ledgers(reply.line);
  if (const auto* outcome = std::get_if<ControlOutcome>(&parsed)) refused(*outcome);
  Ledgers ledgers{std::get<std::vector<LedgerOwner>>(std::move(parsed)),
                  std::move(reply.descriptors)};
  if (ledgers.owners.size() != ledgers.descriptors.size())
    throw AdminError(kExitSystem, fmt::format("port {}: {} of {} ledgers were handed over", port,
                                              ledgers.descriptors.size(), ledgers.owners.size()));
  return ledgers;
}

std::string ControlClient::carry_out(const ControlRequest& request) {
  try {
    const ControlOutcome outcome = parse_outcome(ask(request).line);
    if (!outcome.error.empty()) refused(outcome);
    return outcome.message;
  } catch (const NoAnswer&) {
    throw AdminError(kExitIo, fmt::format("instance '{}' has closed the connection; whether it did "
                                          "what it was asked to is not known",
                                          instance_.name));
  }
}

}  // namespace serverd
