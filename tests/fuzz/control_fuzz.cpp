#include "supervisor/control_protocol.h"
#include "supervisor/line_reader.h"

#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

/// Whatever comes on the control socket: lines are the same however the stream was split, a request
/// is taken or refused with a harmless text, and one that was taken comes back unchanged. Replies
/// are read by the admin commands, which must survive them too.
///
/// Input: a byte that says where the stream is split, then the stream.
namespace {

using namespace serverd;

constexpr std::size_t kLongest = 256;

void fail(std::string_view what, const std::string& text) {
  std::cerr << what << ": " << text << '\n';
  std::abort();
}

void require_harmless(const std::string& text) {
  for (const char c : text)
    if ((c >= 0 && c < ' ') || c == 0x7F) fail("control character", text);
}

std::string lines_of(std::string_view stream, std::size_t piece) {
  LineReader reader(kLongest);
  std::string lines;
  const auto take = [&] {
    while (const auto line = reader.next()) {
      if (line->size() > kLongest || line->find('\n') != std::string::npos) fail("line", *line);
      lines += *line + "\n";
    }
  };
  for (std::size_t begin = 0; begin < stream.size() && !reader.overflown(); begin += piece) {
    reader.append(stream.substr(begin, piece));
    take();
  }
  reader.end();
  take();
  return lines;
}

void check_request(const std::string& line) {
  const auto parsed = parse_request(line);
  if (const auto* wrong = std::get_if<std::string>(&parsed)) {
    if (wrong->empty()) fail("refused without a reason", line);
    return require_harmless(*wrong);
  }
  const auto& request = std::get<ControlRequest>(parsed);
  const auto again = parse_request(request_text(request));
  if (!std::holds_alternative<ControlRequest>(again) || std::get<ControlRequest>(again) != request)
    fail("changed on the way", line);
}

void check_reply(const std::string& line) {
  const auto status = parse_status(line);
  if (const auto* figures = std::get_if<InstanceStatus>(&status))
    if (std::get<InstanceStatus>(parse_status(status_text(*figures))) != *figures)
      fail("status changed on the way", line);
  static_cast<void>(parse_ledgers(line));
  const ControlOutcome outcome = parse_outcome(line);
  const std::string text = outcome_text(outcome);
  if (outcome_text(parse_outcome(text)) != text) fail("outcome changed on the way", line);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = lines_of(stream, stream.size() + 1);
  const std::string pieces = lines_of(stream, data[0] % 16 + 1U);
  // Behind a line that is too long nothing counts, wherever it was noticed.
  if (whole != pieces) fail("split differently", std::string(stream));
  for (std::size_t begin = 0; begin < whole.size();) {
    const std::size_t end = whole.find('\n', begin);
    const std::string line = whole.substr(begin, end - begin);
    check_request(line);
    check_reply(line);
    begin = end + 1;
  }
  return 0;
}
