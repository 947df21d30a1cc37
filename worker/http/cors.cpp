#include "worker/http/cors.h"

#include <algorithm>
#include <utility>

namespace serverd::http {

Cors::Cors(std::vector<std::string> origins)
    : origins_(std::move(origins)),
      any_(std::find(origins_.begin(), origins_.end(), "*") != origins_.end()) {}

void Cors::add_fields(std::string_view origin, std::vector<Field>& fields) const {
  if (origins_.empty()) return;
  if (!any_) fields.push_back({"Vary", "Origin"});
  const auto allowed = std::find(origins_.begin(), origins_.end(), origin);
  if (!any_ && allowed == origins_.end()) return;
  fields.push_back({"Access-Control-Allow-Origin", any_ ? "*" : std::string_view(*allowed)});
  fields.push_back({"Access-Control-Allow-Credentials", "true"});
  fields.push_back({"Access-Control-Allow-Headers",
                    "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, "
                    "accept, origin, Cache-Control, X-Requested-With"});
  fields.push_back({"Access-Control-Allow-Methods", "POST, OPTIONS, GET, PUT, DELETE"});
}

}  // namespace serverd::http
