#pragma once

#include <ctime>
#include <string>

namespace serverd::http {

/// "Sun, 06 Nov 1994 08:49:37 GMT": RFC 9110, section 5.6.7.
std::string date_field(std::time_t time);

}  // namespace serverd::http
