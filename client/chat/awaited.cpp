#include "client/chat/awaited.h"

#include <algorithm>

namespace serverd::chat {
namespace {

using tsam::Verb;

bool answers(const tsam::Command& reply, Verb request) {
  switch (reply.verb) {
    case Verb::kError:
      return true;  // whatever came first
    case Verb::kOk:
      return tsam::parse_command(reply.field(0), tsam::Origin::kClient).verb == request;
    case Verb::kServers:
      return request == Verb::kServers || request == Verb::kListServers || request == Verb::kHelo;
    case Verb::kStatusResp:
      return request == Verb::kStatusReq;
    case Verb::kHelo:
    case Verb::kKeepAlive:
      return request == reply.verb;
    default:
      return false;
  }
}

}  // namespace

void Awaited::sent(std::string_view text, bool own) {
  if (requests_.size() == kMost) return;
  requests_.push_back({tsam::parse_command(text, tsam::Origin::kClient).verb, own});
}

bool Awaited::received(std::string_view text) {
  const tsam::Command reply = tsam::parse_command(text, tsam::Origin::kServer);
  const auto answered =
      std::find_if(requests_.begin(), requests_.end(),
                   [&](const Request& request) { return answers(reply, request.verb); });
  if (answered == requests_.end()) return false;
  const bool own = answered->own;
  requests_.erase(requests_.begin(), answered + 1);
  return own;
}

}  // namespace serverd::chat
