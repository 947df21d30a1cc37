#pragma once

#include "common/config.h"
#include "common/config_table.h"

#include <string>
#include <vector>

namespace serverd {

/// One item of a `listen` as it was written.
struct ListenItem {
  TomlPlace place;
  std::string text;
  std::size_t service;  ///< its number in the file
  std::vector<ListenRange> ranges;
};

/// Complains about every item that another item before it rules out: a port belongs to one service,
/// an address and port are listened on once (0.0.0.0 and :: stand for every address of their
/// family; the families never meet, since IPv6 sockets take IPv6 only), and a name of inherited
/// sockets stands in one place.
void check_listen_items(std::vector<ListenItem> items, Complaints& complaints);

}  // namespace serverd
