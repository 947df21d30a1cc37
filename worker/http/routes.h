#pragma once

#include "worker/http/message.h"
#include "worker/http/stream.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace serverd::http {

/// An answer of status 200 whose body is a stream.
struct StreamedResponse {
  std::string_view type;        ///< Content-Type; a literal
  std::vector<Field> fields{};  ///< more of them; literals
  std::unique_ptr<Stream> stream{};
};

using Answer = std::variant<Response, StreamedResponse>;
/// For GET and HEAD; of a HEAD's answer only the head is sent, and its stream is never started.
using Handler = std::function<Answer(const Request&)>;

/// What a service serves, by path.
class Routes final {
 public:
  void get(std::string path, Handler handler);

  /// 204 for any OPTIONS, 404 for a path and 405 for a method that is not served; 500 if the
  /// handler throws.
  Answer answer(const Request& request) const;

 private:
  struct Route {
    std::string path;
    Handler handler;
  };
  std::vector<Route> routes_;
};

}  // namespace serverd::http
