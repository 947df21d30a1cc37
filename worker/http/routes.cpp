#include "worker/http/routes.h"

#include "common/log.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace serverd::http {

void Routes::get(std::string path, Handler handler) {
  routes_.push_back({std::move(path), std::move(handler)});
}

Answer Routes::answer(const Request& request) const try {
  if (request.method == Method::kOptions) return Response{204, "", ""};
  if (request.method == Method::kUnknown)
    return Response{501, "text/plain", "501 method not implemented"};
  const auto route = std::find_if(routes_.begin(), routes_.end(), [&](const Route& candidate) {
    return candidate.path == request.path;
  });
  if (route == routes_.end()) return Response{404, "text/plain", "404 page not found"};
  if (request.method == Method::kGet || request.method == Method::kHead)
    return route->handler(request);
  return Response{405, "text/plain", "405 method not allowed", {{"Allow", "GET, HEAD, OPTIONS"}}};
} catch (const std::exception& failure) {
  log::error("{}: {}", request.path, failure.what());
  return json_error(500, failure.what());
}

}  // namespace serverd::http
