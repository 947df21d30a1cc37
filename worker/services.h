#pragma once

#include "common/config.h"
#include "common/ledger.h"
#include "worker/session.h"

#include <cstdint>
#include <memory>

namespace serverd {

/// Makes the service that a configuration asks for. `ledger` must outlive it.
std::unique_ptr<Service> make_service(const ServiceConfig& config, std::uint16_t port,
                                      ledger::Ledger& ledger);

}  // namespace serverd
