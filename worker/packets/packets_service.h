#pragma once

#include "common/config.h"
#include "common/ledger.h"
#include "worker/http/http_session.h"
#include "worker/packets/capture_stream.h"
#include "worker/packets/interfaces.h"
#include "worker/service_host.h"
#include "worker/session.h"

#include <cstdint>
#include <memory>
#include <system_error>

namespace serverd {

/// The `packets` protocol: the machine's interfaces and live captures on them, over HTTP/1.1 and
/// Server-Sent Events. PROTOCOLS: packets.
class PacketsService final : public Service {
 public:
  /// `ledger` must outlive the service.
  PacketsService(const PacketsConfig& config, Milliseconds idle_timeout, std::uint16_t port,
                 ledger::Ledger& ledger);

  void attach(ServiceHost& host) override;
  std::unique_ptr<Session> open(ledger::Slot& slot) override;
  std::unique_ptr<Session> resume(ledger::Slot& slot) override;
  bool judges_idleness() const noexcept override { return true; }
  bool shares_output() const noexcept override { return false; }
  void rotate() noexcept override {}
  std::error_code retry() noexcept override { return {}; }

 private:
  std::uint32_t index_of(const ledger::Slot& slot) const noexcept;
  http::Answer interfaces();
  http::Answer capture(const http::Request& request);

  PacketsConfig config_;
  ledger::Ledger& ledger_;
  packets::CapturePool pool_;
  packets::InterfaceDirectory directory_;
  http::Site site_;
};

}  // namespace serverd
