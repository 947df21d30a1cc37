#include "worker/packets/packets_service.h"

namespace serverd {

using http::HttpSession;

PacketsService::PacketsService(const PacketsConfig& config, Milliseconds idle_timeout,
                               std::uint16_t port, ledger::Ledger& ledger)
    : config_(config), port_(port), ledger_(ledger) {
  site_.cors = http::Cors(config.cors_origins);
  site_.limits.idle = idle_timeout;
  site_.limits.receive = config.request_timeout;
  site_.routes.get("/api/interfaces", [this](const http::Request&) { return interfaces(); });
}

std::uint32_t PacketsService::index_of(const ledger::Slot& slot) const noexcept {
  return static_cast<std::uint32_t>(&slot - ledger_.slots().data());
}

std::unique_ptr<Session> PacketsService::open(ledger::Slot& slot) {
  return std::make_unique<HttpSession>(site_, slot, index_of(slot), HttpSession::Origin::kAccepted);
}

std::unique_ptr<Session> PacketsService::resume(ledger::Slot& slot) {
  return std::make_unique<HttpSession>(site_, slot, index_of(slot), HttpSession::Origin::kResumed);
}

http::Answer PacketsService::interfaces() {
  return http::Response{200, http::kJson, directory_.json()};
}

}  // namespace serverd
