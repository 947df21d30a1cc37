#include "common/printable.h"
#include "worker/packets/capture_filter.h"
#include "worker/packets/event_writer.h"

#include <pcap/pcap.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

/// The query of a request, from anybody: it is refused with one safe line, or becomes a filter that
/// libpcap takes (whatever `bpf` holds, which libpcap judges by itself).
namespace {

using namespace serverd;
using namespace serverd::packets;

void fail(std::string_view what, std::string_view text) {
  std::cerr << what << ": " << printable(text) << '\n';
  std::abort();
}

void check_compiles(const std::string& filter, int link_type) {
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> handle(pcap_open_dead(link_type, 65535),
                                                          &pcap_close);
  bpf_program program{};
  if (pcap_compile(handle.get(), &program, filter.c_str(), 1, PCAP_NETMASK_UNKNOWN) == 0) {
    pcap_freecode(&program);
    return;
  }
  // Such as the server's own port, which is left out.
  if (std::string_view(pcap_geterr(handle.get())) != "expression rejects all packets")
    fail(pcap_geterr(handle.get()), filter);
}

void check_request(CaptureRequest request) {
  if (request.interface.empty() || request.interface.find('\0') != std::string::npos)
    fail("interface", request.interface);
  if (request.snap_length &&
      (*request.snap_length == 0 || *request.snap_length > kLargestSnapLength))
    fail("snap length", request.interface);
  if (request.host && (request.source_host || request.destination_host))
    fail("hosts", request.interface);
  if (request.port && (request.source_port || request.destination_port))
    fail("ports", request.interface);
  static_cast<void>(capture_filter(request, DLT_EN10MB, 8080));
  request.bpf.clear();
  for (const int link_type : {DLT_EN10MB, DLT_LINUX_SLL2})
    check_compiles(capture_filter(request, link_type, 8080), link_type);
  static_cast<void>(matches(request, 8080, Decoded{}));
}

void check_refusal(const std::string& text) {
  if (text.empty() || text != printable(text)) fail("refusal", text);
  std::string event;
  append_error_event(event, text);
  if (event != "event: error\ndata: " + text + "\n\n") fail("event", event);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const auto parsed = parse_capture_request({reinterpret_cast<const char*>(data), size});
  if (const auto* const request = std::get_if<CaptureRequest>(&parsed))
    check_request(*request);
  else
    check_refusal(std::get<BadRequest>(parsed).text);
  return 0;
}
