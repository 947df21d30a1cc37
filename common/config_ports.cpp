#include "common/config_ports.h"

#include <algorithm>
#include <map>

namespace serverd {
namespace {

bool is_v6(const std::string& host) { return host.find(':') != host.npos; }

/// Hosts are in their usual spelling, so equal addresses are equal strings.
bool hosts_overlap(const std::string& a, const std::string& b) {
  if (is_v6(a) != is_v6(b)) return false;
  const std::string wildcard = is_v6(a) ? "::" : "0.0.0.0";
  return a == b || a == wildcard || b == wildcard;
}

bool overlap(const ListenRange& a, const ListenRange& b) {
  return a.first_port <= b.last_port && b.first_port <= a.last_port &&
         hosts_overlap(a.host, b.host);
}

bool overlap(const ListenItem& a, const ListenItem& b) {
  for (const ListenRange& range : a.ranges)
    for (const ListenRange& other : b.ranges)
      if (overlap(range, other)) return true;
  return false;
}

/// Takes the items in the order of the file and knows who came first.
class FirstComers final {
 public:
  explicit FirstComers(Complaints& complaints) : complaints_(complaints), owners_(65536) {}

  void check(const ListenItem& item) {
    if (!item.ranges.front().inherited_name.empty())
      check_name(item);
    else if (is_free_of_other_services(item) && is_free_in_its_service(item))
      take(item);
  }

 private:
  void check_name(const ListenItem& item) {
    const auto [first, is_new] = names_.emplace(item.ranges.front().inherited_name, &item);
    if (!is_new)
      complain(item, fmt::format("stands already in line {}; a name belongs to one service and is "
                                 "listed once",
                                 first->second->place.line));
  }

  bool is_free_of_other_services(const ListenItem& item) {
    const ListenRange& range = item.ranges.front();  // the second, of "*", has the same ports
    for (unsigned port = range.first_port; port <= range.last_port; ++port) {
      const ListenItem* owner = owners_[port];
      if (owner == nullptr || owner->service == item.service) continue;
      complain(item, fmt::format("port {} is taken by another service with {} in line {}; a port "
                                 "belongs to one service",
                                 port, quoted(owner->text), owner->place.line));
      return false;
    }
    return true;
  }

  bool is_free_in_its_service(const ListenItem& item) {
    for (const ListenItem* earlier : taken_[item.service]) {
      if (!overlap(item, *earlier)) continue;
      complain(item, fmt::format("overlaps {} in line {}; an address and port are listed once",
                                 quoted(earlier->text), earlier->place.line));
      return false;
    }
    return true;
  }

  void take(const ListenItem& item) {
    taken_[item.service].push_back(&item);
    const ListenRange& range = item.ranges.front();
    for (unsigned port = range.first_port; port <= range.last_port; ++port)
      if (owners_[port] == nullptr) owners_[port] = &item;
  }

  void complain(const ListenItem& item, const std::string& what) {
    complaints_.add(item.place, "service.listen", fmt::format("{}: {}", quoted(item.text), what));
  }

  Complaints& complaints_;
  std::vector<const ListenItem*> owners_;  ///< by port, the first item that takes it
  std::map<std::size_t, std::vector<const ListenItem*>> taken_;
  std::map<std::string, const ListenItem*> names_;
};

}  // namespace

void check_listen_items(std::vector<ListenItem> items, Complaints& complaints) {
  std::sort(items.begin(), items.end(),
            [](const ListenItem& a, const ListenItem& b) { return a.place < b.place; });
  FirstComers first_comers(complaints);
  for (const ListenItem& item : items) first_comers.check(item);
}

}  // namespace serverd
