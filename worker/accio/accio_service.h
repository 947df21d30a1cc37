#pragma once

#include "common/config.h"
#include "common/ledger.h"
#include "worker/output_directory.h"
#include "worker/session.h"

#include <cstdint>
#include <memory>

namespace serverd {

/// The `accio` protocol: each connection's bytes become one file, DIRECTORY/N.file, N counting
/// connections. A client that is silent for the idle timeout leaves a file that holds "ERROR".
/// PROTOCOLS: accio.
class AccioService final : public Service {
 public:
  /// `ledger` must outlive the service. Where counting begins is found out once for a ledger: after
  /// the highest number in the directory, or at 1 where old files are replaced.
  AccioService(const AccioConfig& config, ledger::Ledger& ledger);

  std::unique_ptr<Session> open(ledger::Slot& slot) override;
  std::unique_ptr<Session> resume(ledger::Slot& slot) override;
  /// Every connection has a file of its own; there is nothing to rotate.
  void rotate() noexcept override {}
  bool shares_output() const noexcept override { return false; }
  std::error_code retry() noexcept override;

 private:
  void find_next_number();
  std::uint64_t take_number(ledger::Slot& slot) noexcept;

  AccioConfig config_;
  ledger::Ledger& ledger_;
  OutputDirectory directory_;
};

}  // namespace serverd
