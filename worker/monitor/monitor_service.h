#pragma once

#include "common/ledger.h"
#include "worker/monitor/line_output.h"
#include "worker/session.h"

#include <memory>

namespace serverd {

/// The `monitor` protocol: shows what arrives, line by line, on standard output. Bytes leave the
/// socket only after they were shown, so a line may be shown again after a worker's death, and none
/// is left out. PROTOCOLS: monitor.
class MonitorService final : public Service {
 public:
  /// `ledger` must outlive the service; `output` is borrowed.
  MonitorService(ledger::Ledger& ledger, int output) : ledger_(ledger), output_(output) {}

  void on_serving(std::span<const SocketAddress> addresses) override;
  std::unique_ptr<Session> open(ledger::Slot& slot) override;
  std::unique_ptr<Session> resume(ledger::Slot& slot) override;
  void rotate() noexcept override {}
  bool waits() const noexcept override { return output_.waiting(); }
  std::error_code retry() noexcept override;
  std::chrono::milliseconds retry_interval() const noexcept override {
    return std::chrono::milliseconds(20);
  }

 private:
  ledger::Ledger& ledger_;
  LineOutput output_;
};

}  // namespace serverd
