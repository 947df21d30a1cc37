#include "worker/http/codec.h"

#include <boost/beast/core/buffer_traits.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/serializer.hpp>

#include <algorithm>

namespace serverd::http {
namespace {

namespace beast = boost::beast::http;
using boost::beast::error_code;
using boost::beast::iequals;
using boost::beast::string_view;

std::string_view view(string_view text) { return {text.data(), text.size()}; }
string_view view(std::string_view text) { return {text.data(), text.size()}; }

Method method_of(beast::verb verb) noexcept {
  switch (verb) {
    case beast::verb::get:
      return Method::kGet;
    case beast::verb::head:
      return Method::kHead;
    case beast::verb::post:
      return Method::kPost;
    case beast::verb::put:
      return Method::kPut;
    case beast::verb::patch:
      return Method::kPatch;
    case beast::verb::delete_:
      return Method::kDelete;
    case beast::verb::options:
      return Method::kOptions;
    default:
      return Method::kUnknown;
  }
}

/// Beast's parser, with the request put together from views into what it is given. What Beast lets
/// pass, and two readers could understand differently, is refused here.
class Parser final : public beast::basic_parser<true> {
 public:
  explicit Parser(Request& request) : request_(request) {}

  const Refusal& refusal() const noexcept { return refusal_; }
  bool expects_continue() const noexcept { return expects_continue_; }

 private:
  void refuse(unsigned status, std::string_view why, error_code& error) {
    refusal_ = {status, why};
    error = beast::error::bad_value;
  }

  void on_request_impl(beast::verb method, string_view, string_view target, int version,
                       error_code& error) override {
    request_.method = method_of(method);
    request_.http_1_0 = version == 10;
    read_target(view(target), error);
  }

  /// RFC 9112, section 3.2.
  void read_target(std::string_view target, error_code& error) {
    if (!target.starts_with('/') && target != "*") {
      const std::size_t scheme = target.find("://");
      const std::string_view name = target.substr(0, scheme);
      if (scheme == target.npos || !(iequals(view(name), "http") || iequals(view(name), "https")))
        return refuse(400, "the target is neither a path nor an address", error);
      const std::size_t path = target.find_first_of("/?", scheme + 3);
      target = path == target.npos ? "/" : target.substr(path);
    }
    if (target.find('#') != target.npos) return refuse(400, "a '#' in the target", error);
    const std::size_t question = target.find('?');
    request_.path = target.substr(0, question);
    if (request_.path.empty()) request_.path = "/";
    if (question != target.npos) request_.query = target.substr(question + 1);
  }

  void on_field_impl(beast::field name, string_view text, string_view value,
                     error_code& error) override {
    if (in_trailer_) return;
    request_.fields.push_back({view(text), view(value)});
    switch (name) {
      case beast::field::host:
        if (++hosts_ > 1) refuse(400, "more than one Host", error);
        return;
      case beast::field::content_length:
        if (++lengths_ > 1 || value.find(',') != value.npos)
          refuse(400, "more than one Content-Length", error);
        return;
      case beast::field::transfer_encoding:
        if (!iequals(value, "chunked"))
          refuse(501, "a Transfer-Encoding other than chunked", error);
        else if (request_.http_1_0)
          refuse(400, "a Transfer-Encoding in HTTP/1.0", error);
        return;
      case beast::field::expect:
        if (!iequals(value, "100-continue")) return refuse(417, "an unknown Expect", error);
        expects_continue_ = !request_.http_1_0;
        return;
      default:
        return;
    }
  }

  void on_header_impl(error_code& error) override {
    in_trailer_ = true;
    if (hosts_ == 0 && !request_.http_1_0) return refuse(400, "no Host", error);
    request_.keep_alive = keep_alive();
  }

  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code&) override {
    request_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code&) override {
    request_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(error_code&) override {}
  void on_response_impl(int, string_view, int, error_code&) override {}

  Request& request_;
  Refusal refusal_;
  unsigned hosts_ = 0;
  unsigned lengths_ = 0;
  bool in_trailer_ = false;
  bool expects_continue_ = false;
};

bool is_other_version(std::string_view head) {
  const std::string_view line = head.substr(0, head.find('\r'));
  const std::string_view version = line.substr(line.rfind(' ') + 1);
  return version.size() == 8 && version.starts_with("HTTP/") && version[6] == '.';
}

Refusal refusal_for(const error_code& error, std::string_view head) {
  if (error == beast::error::body_limit) return {413, "the body is too large"};
  if (error == beast::error::bad_version && is_other_version(head))
    return {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  if (error == beast::error::bad_content_length) return {400, "a bad Content-Length"};
  if (error == beast::error::bad_transfer_encoding) return {400, "a bad Transfer-Encoding"};
  if (error == beast::error::bad_chunk || error == beast::error::bad_chunk_extension)
    return {400, "a bad chunk"};
  return {400, "not a request of HTTP"};
}

/// Larger than any head that HeadScan lets pass.
constexpr std::uint32_t kAnyHead = 1U << 20;

}  // namespace

std::string_view Request::field(std::string_view name) const noexcept {
  for (const Field& field : fields)
    if (iequals(view(field.name), view(name))) return field.value;
  return {};
}

RequestReader::Step RequestReader::next(std::string_view bytes, Request& request) {
  const std::size_t before = empty_lines(bytes);
  Step step = read(bytes.substr(before), request);
  step.consumed += before;
  if (step.consumed > 0) scan_ = HeadScan();
  return step;
}

RequestReader::Step RequestReader::read(std::string_view bytes, Request& request) {
  if (bytes.empty() || bytes == "\r") return {Event::kNeedMore};
  const HeadScan::State head = scan_.look(bytes, limits_.head);
  if (head == HeadScan::State::kNeedMore) return {Event::kNeedMore};
  if (head == HeadScan::State::kRefused) return {Event::kRefused, 0, scan_.refusal()};
  const std::size_t most = scan_.size() + limits_.framed;
  request = Request();
  Parser parser(request);
  parser.header_limit(kAnyHead);
  parser.body_limit(limits_.body);
  parser.eager(true);
  error_code error;
  const std::size_t used = parser.put({bytes.data(), std::min(bytes.size(), most)}, error);
  if (parser.refusal().status != 0) return {Event::kRefused, 0, parser.refusal()};
  if (error && error != beast::error::need_more)
    return {Event::kRefused, 0, refusal_for(error, bytes.substr(0, scan_.size()))};
  if (parser.is_done()) return {Event::kRequest, used};
  if (bytes.size() >= most) return {Event::kRefused, 0, {413, "the body is too large"}};
  const bool waits = parser.expects_continue() && bytes.size() == scan_.size();
  return {Event::kNeedMore, 0, {}, waits};
}

void append_head(Outbox& out, const ResponseHead& head) {
  beast::response<beast::empty_body> response;
  response.result(head.status);
  response.version(11);
  for (const Field& field : head.fields) response.insert(view(field.name), view(field.value));
  beast::serializer<false, beast::empty_body> serializer(response);
  error_code error;
  serializer.next(error, [&](error_code&, const auto& buffers) {
    for (const auto buffer : boost::beast::buffers_range_ref(buffers))
      out.append({static_cast<const char*>(buffer.data()), buffer.size()});
  });
}

std::string_view reason_of(unsigned status) noexcept {
  return view(beast::obsolete_reason(beast::int_to_status(status)));
}

}  // namespace serverd::http
