#pragma once

#include "common/loop/loop.h"
#include "worker/http/codec.h"
#include "worker/http/cors.h"
#include "worker/http/outbox.h"
#include "worker/http/routes.h"
#include "worker/http/stream.h"
#include "worker/service_host.h"
#include "worker/session.h"

#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace serverd::http {

struct Limits {
  RequestReader::Limits request;
  unsigned requests = 10'000;                          ///< of one connection
  Clock::duration idle = std::chrono::minutes(1);      ///< between requests; 0: none
  Clock::duration receive = std::chrono::seconds(10);  ///< for a request, from its first byte
  Clock::duration send = std::chrono::minutes(1);      ///< without the peer's taking a byte
};

/// What all connections of a port have in common. Outlives them.
struct Site {
  Routes routes;
  Cors cors;
  Limits limits;
  ServiceHost* host = nullptr;
  std::function<std::time_t()> wall = [] { return std::time(nullptr); };
};

/// One connection that speaks HTTP/1.1: requests one after the other, each answered before the next
/// is looked at. A request leaves the socket whole, and not before there is an answer to it.
///
/// Of its life the slot knows after how many bytes of input how many bytes of output are due. A
/// successor that finds exactly these sent goes on with what stands in the socket; where an answer
/// was on its way, or a stream, it ends the connection: an answer is never repeated or continued.
class HttpSession final : public Session, StreamOutput {
 public:
  enum class Origin { kAccepted, kResumed };

  /// `slot` is the ledger's `slot_index`.
  HttpSession(Site& site, ledger::Slot& slot, std::uint32_t slot_index, Origin origin);
  ~HttpSession() override;

  Taken on_bytes(std::span<const std::byte> bytes, bool last) noexcept override;
  bool leaves_bytes() const noexcept override { return true; }
  bool answers() const noexcept override { return true; }
  std::span<const std::byte> output(std::uint64_t sent) noexcept override;
  std::optional<ledger::Cause> ending() const noexcept override { return ending_; }
  void on_deaf() noexcept override;
  void on_eof() noexcept override;
  void on_end(ledger::Cause cause, std::error_code error) noexcept override;

 private:
  /// Bytes of output at which no more requests are looked at.
  static constexpr std::size_t kCrowded = 65'536;

  Outbox& open() override;
  void flush() override;
  void finish() override;
  std::size_t pending() const noexcept override { return outbox_.pending(); }

  std::size_t take_requests(std::string_view bytes, bool& crowded);
  void answer(const Request& request);
  void send_whole(const Request& request, const Response& response, bool keep);
  void send_stream(const Request& request, StreamedResponse response, bool keep);
  void refuse(const Refusal& refusal);
  void put_head(const Request& request, ResponseHead head, bool keep);
  Outbox& begin_output() noexcept;
  void end_stream() noexcept;
  void end(ledger::Cause cause) noexcept;

  void check_predecessor(std::uint64_t sent) noexcept;
  void promise(std::uint64_t input) noexcept;

  Clock::time_point deadline() const noexcept;
  void schedule();
  void on_timer();

  Site& site_;
  ledger::Slot& slot_;
  std::uint32_t slot_index_;
  RequestReader reader_;
  Outbox outbox_;
  bool unchecked_;  ///< resumed, and it is not known yet whether the predecessor left an answer
  unsigned requests_ = 0;
  std::size_t next_promise_ = 0;  ///< of the slot's words
  bool continued_ = false;        ///< 100 was said for the request that is coming

  std::unique_ptr<Stream> stream_;
  bool stream_done_ = false;
  bool chunked_ = false;
  bool chunk_open_ = false;
  std::uint64_t chunk_at_ = 0;
  bool keep_ = true;  ///< after the stream

  std::optional<ledger::Cause> ending_;
  std::size_t partial_ = 0;            ///< bytes of a request that is not whole
  Clock::time_point request_since_{};  ///< its first byte
  Clock::time_point quiet_since_;      ///< nothing was asked since
  Clock::time_point taken_at_;         ///< the peer has taken output, or had none to take
  std::uint64_t sent_ = 0;
  Clock::time_point armed_for_{};
  Timer timer_;
};

}  // namespace serverd::http
