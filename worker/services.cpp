#include "worker/services.h"

#include "worker/stream/stream_service.h"

namespace serverd {
namespace {

struct Factory {
  std::uint16_t port;
  ledger::Ledger& ledger;

  std::unique_ptr<Service> operator()(const StreamConfig& config) const {
    return std::make_unique<StreamService>(config, port, ledger);
  }
};

}  // namespace

std::unique_ptr<Service> make_service(const ServiceConfig& config, std::uint16_t port,
                                      ledger::Ledger& ledger) {
  return std::visit(Factory{port, ledger}, config.protocol);
}

}  // namespace serverd
