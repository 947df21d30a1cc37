#pragma once

#include "common/config.h"

#include <cstdint>
#include <string>

namespace serverd {

// The configurations that the forms without a file stand for: one service, workers as ourselves, an
// instance named after the first port. They throw std::invalid_argument saying which argument is
// wrong.

/// `stream-serverd stream <ip> <base_port> <num_ports>`
Config stream_quick_form(const std::string& ip, unsigned base_port, unsigned port_count,
                         const std::string& output);

/// `stream-serverd accio <port> <file-dir>`: on all interfaces; counts from 1, replaces old files,
/// and ends at once when told to.
Config accio_quick_form(const std::string& port, const std::string& directory);

/// `stream-serverd chat <port>`: on all interfaces; log and messages in the working directory.
Config chat_quick_form(const std::string& port);

/// `stream-serverd packets [--port <port>]`: on all interfaces, for any web page.
Config packets_quick_form(const std::string& port);

/// `stream-serverd monitor [<host>] <port>`: logs only what is wrong, since it shows the rest.
Config monitor_quick_form(const std::string& host, const std::string& port);

}  // namespace serverd
