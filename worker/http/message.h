#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Requests and responses of HTTP/1.1 (RFC 9110, RFC 9112), whatever serves them.
namespace serverd::http {

enum class Method { kGet, kHead, kPost, kPut, kPatch, kDelete, kOptions, kUnknown };

struct Field {
  std::string_view name;
  std::string_view value;
};

/// A whole request. Borrows from the bytes it was read from, except for the body.
struct Request {
  Method method = Method::kUnknown;
  std::string_view path;   ///< of the target, as it was sent; "*" for the whole server
  std::string_view query;  ///< behind the first '?', still percent-encoded
  std::vector<Field> fields;
  std::string body;  ///< chunks joined
  bool http_1_0 = false;
  bool keep_alive = false;  ///< the peer wants to go on with the connection

  /// The first field of this name, in whatever case; empty if there is none.
  std::string_view field(std::string_view name) const noexcept;
};

/// An answer that is known whole.
struct Response {
  unsigned status = 200;
  std::string_view type = "text/plain";  ///< Content-Type; a literal
  std::string body;
  std::vector<Field> fields{};  ///< more of them; literals
};

inline constexpr std::string_view kJson = "application/json; charset=utf-8";

/// `{"error":"…"}`
Response json_error(unsigned status, std::string_view text);

/// `text` as a JSON string, in quotation marks. Bytes that are not UTF-8 are replaced.
std::string json_string(std::string_view text);

}  // namespace serverd::http
