#include "worker/packets/packets_service.h"

#include "common/log.h"
#include "common/printable.h"
#include "common/wire/link_layer.h"
#include "worker/packets/capture.h"
#include "worker/packets/capture_filter.h"
#include "worker/packets/capture_request.h"

#include <algorithm>
#include <utility>

namespace serverd {

using http::HttpSession;
using packets::Capture;
using packets::CaptureRequest;

namespace {

constexpr int kEthernet = 1;  // DLT_EN10MB

http::Answer streamed(const CaptureRequest& request, std::unique_ptr<http::Stream> stream) {
  if (request.format == CaptureRequest::Format::kPcapng)
    return http::StreamedResponse{"application/x-pcapng",
                                  {{"Cache-Control", "no-cache"},
                                   {"X-Accel-Buffering", "no"},
                                   {"Content-Disposition", "attachment; filename=capture.pcapng"}},
                                  std::move(stream)};
  return http::StreamedResponse{"text/event-stream",
                                {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                                std::move(stream)};
}

/// A stream can say what went wrong, a file cannot.
http::Answer failed(const CaptureRequest& request, const std::string& error) {
  if (request.format == CaptureRequest::Format::kPcapng) return http::json_error(500, error);
  return streamed(request, std::make_unique<packets::FailedCapture>(error));
}

}  // namespace

PacketsService::PacketsService(const PacketsConfig& config, Milliseconds idle_timeout,
                               std::uint16_t port, ledger::Ledger& ledger)
    : config_(config), ledger_(ledger) {
  packets::forbid_name_service();
  pool_.own_port = port;
  pool_.queue_bytes = std::size_t{config.queue_kib} * 1024;
  site_.cors = http::Cors(config.cors_origins);
  site_.limits.idle = idle_timeout;
  site_.limits.receive = config.request_timeout;
  site_.routes.get("/api/interfaces", [this](const http::Request&) { return interfaces(); });
  site_.routes.get("/api/capture",
                   [this](const http::Request& request) { return capture(request); });
}

void PacketsService::attach(ServiceHost& host) {
  site_.host = &host;
  pool_.loop = &host.loop();
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

/// What is wrong with the request is said before what is wrong with the capture.
http::Answer PacketsService::capture(const http::Request& request) {
  auto parsed = packets::parse_capture_request(request.query);
  if (const auto* bad = std::get_if<packets::BadRequest>(&parsed))
    return http::json_error(400, bad->text);
  auto& wanted = std::get<CaptureRequest>(parsed);
  const std::uint32_t snap_length =
      std::min(wanted.snap_length.value_or(config_.snap_length), config_.snap_length);
  if (pool_.running >= config_.max_captures)
    return http::json_error(
        503, fmt::format("{} captures are running, and no more are allowed", pool_.running));
  std::unique_ptr<Capture> capture;
  std::string failure;
  try {
    capture = std::make_unique<Capture>(
        Capture::Settings{wanted.interface, snap_length, std::size_t{config_.ring_kib} * 1024});
  } catch (const packets::CaptureError& error) {
    failure = error.what();
    log::warning("Port {}: capture on {}{}", pool_.own_port, printable(failure),
                 error.forbidden() ? "; captures need root or CAP_NET_RAW" : "");
  }
  if (!wanted.bpf.empty()) {
    const auto problem =
        capture ? capture->check_filter(wanted.bpf) : packets::filter_error(wanted.bpf, kEthernet);
    if (problem) return http::json_error(400, *problem);
  }
  if (!capture) return failed(wanted, failure);
  if (!wire::link_type_of(capture->link_type()) && wanted.format == CaptureRequest::Format::kEvents)
    return failed(wanted, fmt::format("{}: packets of link type {} cannot be decoded",
                                      wanted.interface, capture->link_type()));
  std::string filter = packets::capture_filter(wanted, capture->link_type(), pool_.own_port);
  if (const auto problem = capture->set_filter(filter)) return http::json_error(400, *problem);
  if (request.method == http::Method::kGet)
    log::info("Port {}: capture {}", pool_.own_port, printable(request.query));
  const CaptureRequest answered = wanted;
  return streamed(answered,
                  std::make_unique<packets::CaptureStream>(pool_, std::move(wanted), snap_length,
                                                           std::move(capture), std::move(filter)));
}

}  // namespace serverd
