#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace serverd {

/// What the command line of an admin command says.
struct AdminOptions {
  std::string runtime_dir;        ///< --runtime-dir
  std::string name;               ///< of the instance; empty: the only one that runs
  bool json = false;              ///< of status and connections
  std::optional<double> watch_s;  ///< show again so often; 0: at the usual interval
  std::uint16_t port = 0;         ///< of restart and resume; filter of connections, 0: all
  std::string service;            ///< filter, empty: all
  std::string peer;               ///< filter: host, or host and port; empty: all
  std::string connection;         ///< of kill
};

}  // namespace serverd
