#include "worker/services.h"

#include "worker/accio/accio_service.h"
#include "worker/chat/chat_service.h"
#include "worker/monitor/monitor_service.h"
#include "worker/packets/packets_service.h"
#include "worker/stream/stream_service.h"

#include <unistd.h>

namespace serverd {
namespace {

struct Factory {
  Milliseconds idle_timeout;
  std::uint16_t port;
  ledger::Ledger& ledger;

  std::unique_ptr<Service> operator()(const StreamConfig& config) const {
    return std::make_unique<StreamService>(config, port, ledger);
  }
  std::unique_ptr<Service> operator()(const AccioConfig& config) const {
    return std::make_unique<AccioService>(config, ledger);
  }
  std::unique_ptr<Service> operator()(const MonitorConfig&) const {
    return std::make_unique<MonitorService>(ledger, STDOUT_FILENO);
  }
  std::unique_ptr<Service> operator()(const ChatConfig& config) const {
    return std::make_unique<ChatService>(config, port, ledger);
  }
  std::unique_ptr<Service> operator()(const PacketsConfig& config) const {
    return std::make_unique<PacketsService>(config, idle_timeout, port, ledger);
  }
};

}  // namespace

std::unique_ptr<Service> make_service(const ServiceConfig& config, std::uint16_t port,
                                      ledger::Ledger& ledger) {
  return std::visit(Factory{config.idle_timeout, port, ledger}, config.protocol);
}

}  // namespace serverd
