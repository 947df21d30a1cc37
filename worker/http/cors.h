#pragma once

#include "worker/http/message.h"

#include <string>
#include <string_view>
#include <vector>

namespace serverd::http {

/// Which web pages' scripts may read what is answered (https://fetch.spec.whatwg.org/, CORS
/// protocol): those of the origins given, all with "*", none by default.
class Cors final {
 public:
  Cors() = default;
  explicit Cors(std::vector<std::string> origins);

  /// Adds the response's fields for a request from `origin`, which is empty if it names none.
  void add_fields(std::string_view origin, std::vector<Field>& fields) const;

 private:
  std::vector<std::string> origins_;
  bool any_ = false;
};

}  // namespace serverd::http
