// A connection's bytes as requests of HTTP: the same ones however they arrive.
#include "worker/http/codec.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using serverd::http::Request;
using serverd::http::RequestReader;

/// Everything that was understood, until the end or the first refusal. `piece`: bytes that arrive
/// together.
std::string understood(std::string_view bytes, std::size_t piece) {
  RequestReader reader({{2'000, 1'000, 20}, 500, 900});
  std::string text;
  std::size_t begin = 0;
  std::size_t end = 0;
  while (end < bytes.size()) {
    end = bytes.size() - end < piece ? bytes.size() : end + piece;
    for (;;) {
      Request request;
      const auto step = reader.next(bytes.substr(begin, end - begin), request);
      if (step.consumed > end - begin) std::abort();
      begin += step.consumed;
      if (step.event == RequestReader::Event::kNeedMore) break;
      if (step.event == RequestReader::Event::kRefused)
        return text + "refused " + std::to_string(step.refusal.status);
      text += std::to_string(static_cast<int>(request.method)) + std::string(request.path) + "?" +
              std::string(request.query) + (request.keep_alive ? "+" : "-") + request.body;
      for (const auto& field : request.fields)
        (text += field.name) += ":" + std::string(field.value);
      text += std::to_string(begin) + "\n";
      if (begin == end) break;
    }
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0] % 16;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = understood(bytes, bytes.size());
  const std::string pieces = understood(bytes, piece);
  if (whole != pieces) {
    std::fprintf(stderr, "at once:\n%s\nby %zu:\n%s\n", whole.c_str(), piece, pieces.c_str());
    std::abort();
  }
  return 0;
}
