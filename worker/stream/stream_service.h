#pragma once

#include "common/config.h"
#include "common/ledger.h"
#include "worker/output_directory.h"
#include "worker/session.h"
#include "worker/sink.h"

#include <memory>
#include <string>

namespace serverd {

/// The `stream` protocol: every byte goes to a file, nothing is answered. All connections of the
/// port share one file, in the order in which their chunks arrived, or each has its own.
/// PROTOCOLS: stream.
class StreamService final : public Service {
 public:
  /// `ledger` must outlive the service.
  StreamService(const StreamConfig& config, std::uint16_t port, ledger::Ledger& ledger);

  std::unique_ptr<Session> open(ledger::Slot& slot) override;
  std::unique_ptr<Session> resume(ledger::Slot& slot) override;
  void rotate() noexcept override;
  bool shares_output() const noexcept override { return !file_per_connection_; }
  std::error_code retry() noexcept override;

 private:
  /// "stream_5000_20261120_212005", with what tells apart the files of one port and second.
  std::string stem() const;

  bool file_per_connection_;
  std::uint16_t port_;
  OutputDirectory directory_;
  Sink shared_;
  bool shared_wanted_ = false;  ///< a first connection has come
};

}  // namespace serverd
