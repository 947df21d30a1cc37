#pragma once

#include "common/config.h"

#include <cstdint>
#include <string>

namespace serverd {

/// The configuration that `stream-serverd stream <ip> <base_port> <num_ports>` stands for: one
/// service, workers as ourselves, an instance named after the first port. Throws
/// std::invalid_argument saying which argument is wrong.
Config stream_quick_form(const std::string& ip, unsigned base_port, unsigned port_count,
                         const std::string& output);

}  // namespace serverd
