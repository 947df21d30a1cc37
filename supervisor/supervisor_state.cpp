#include "supervisor/supervisor_state.h"

#include "common/config.h"
#include "common/ledger.h"
#include "common/log.h"
#include "common/os/error.h"
#include "common/os/limits.h"
#include "common/os/memfd.h"
#include "common/os/socket.h"
#include "common/parcel.h"
#include "supervisor/inherited.h"
#include "supervisor/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <span>
#include <utility>

#include <fcntl.h>

namespace serverd {
namespace {

constexpr std::size_t kMaxConfigSize = std::size_t{1} << 20;

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

[[noreturn]] void fail(std::string_view name, const char* what) {
  throw HandoffError(fmt::format("supervisor state: '{}' {}", name, what));
}

[[noreturn]] void fail_unknown(std::string_view name) {
  throw HandoffError(fmt::format("supervisor state: unknown name '{}'", name));
}

template <typename Number>
Number number_in(const std::string& text, const std::string& name) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number <= 0)
    fail(name, "is malformed");
  return number;
}

void place_once(UniqueFd& place, UniqueFd fd, const std::string& name) {
  if (place) fail(name, "is there twice");
  place = std::move(fd);
}

class Unpacker final {
 public:
  /// What cannot be placed is said, closed and passed over, instead of refused.
  explicit Unpacker(bool lenient) : lenient_(lenient) {}

  SupervisorState unpack(std::vector<ParcelMessage> messages) {
    for (ParcelMessage& message : messages) unpack_message(message);
    for (auto& [key, port] : ports_) state_.ports.push_back(std::move(port));
    return std::move(state_);
  }

 private:
  void unpack_message(ParcelMessage& message) try {
    const std::vector<std::string> names = split(message.text, ':');
    if (names.size() != message.descriptors.size())
      throw HandoffError("supervisor state: names and descriptors differ in number");
    for (std::size_t i = 0; i < names.size(); ++i)
      try_to_place(names[i], std::move(message.descriptors[i]));
  } catch (const HandoffError& error) {
    pass_over(error);
  }

  void try_to_place(const std::string& name, UniqueFd fd) try {
    place(name, std::move(fd));
  } catch (const HandoffError& error) {
    pass_over(error);
  }

  void pass_over(const HandoffError& error) const {
    if (!lenient_) throw error;
    log::warning("{}; closed", error.what());
  }

  using Words = std::span<const std::string>;

  void place(const std::string& name, UniqueFd fd) {
    const std::vector<std::string> words = split(name, '.');
    if (name == "lock") {
      place_once(state_.lock, std::move(fd), name);
    } else if (name == "control") {
      place_once(state_.control, std::move(fd), name);
    } else if (name.starts_with("socket.")) {
      state_.sockets.push_back({name.substr(7), std::move(fd)});
    } else if (words[0] == "kept" && words.size() == 2) {
      state_.kept = number_in<std::uint64_t>(words[1], name);
    } else if (words[0] == "port" && words.size() > 2) {
      const auto number = number_in<std::uint16_t>(words[1], name);
      place_in_port(port(number, 0), Words(words).subspan(2), name, std::move(fd));
    } else if (words[0] == "retired" && words.size() > 3) {
      const auto number = number_in<std::uint16_t>(words[1], name);
      const auto index = number_in<unsigned>(words[2], name);
      place_in_port(port(number, index), Words(words).subspan(3), name, std::move(fd));
    } else {
      fail_unknown(name);
    }
  }

  /// `retired`: 0, or which of the retired ports of this number.
  Port::Inherited& port(std::uint16_t number, unsigned retired) {
    Port::Inherited& port = ports_[{number, retired}];
    port.port = number;
    port.retired = retired > 0;
    return port;
  }

  static void place_in_port(Port::Inherited& port, Words role, const std::string& name,
                            UniqueFd fd) {
    if (role[0] == "worker" && role.size() == 4)
      return place_worker(port, role, name, std::move(fd));
    if (role.size() != 1) fail_unknown(name);
    if (role[0] == "listen")
      port.listeners.push_back(std::move(fd));
    else if (role[0] == "config")
      place_once(port.config, std::move(fd), name);
    else if (role[0] == "ledger")
      place_once(port.ledger, std::move(fd), name);
    else if (role[0] == "parcel")
      place_once(port.parcel, std::move(fd), name);
    else if (role[0] == "snapshot")
      place_once(port.snapshot, std::move(fd), name);
    else if (role[0] == "parked")
      port.parcels.push_back(std::move(fd));
    else
      fail_unknown(name);
  }

  static void place_worker(Port::Inherited& port, Words role, const std::string& name,
                           UniqueFd fd) {
    if (role[3] != "ready" && role[3] != "starting") fail_unknown(name);
    place_once(port.channel, std::move(fd), name);
    port.worker = number_in<pid_t>(role[1], name);
    port.generation = number_in<unsigned>(role[2], name);
    port.ready = role[3] == "ready";
  }

  bool lenient_;
  std::map<std::pair<std::uint16_t, unsigned>, Port::Inherited> ports_;
  SupervisorState state_;
};

void require_usable_port(const Port::Inherited& port) {
  const std::string what = fmt::format("supervisor state: port {}: ", port.port);
  if (!port.ledger || !port.config) throw HandoffError(what + "ledger or config is missing");
  try {
    const ledger::Ledger ledger(port.ledger.get(), Mapping::Access::kRead);
    const auto parsed =
        parse_config(read_all(port.config.get(), kMaxConfigSize), "config", ConfigUse::kWorker);
    if (const auto* errors = std::get_if<ConfigErrors>(&parsed))
      throw HandoffError(errors->lines.front());
  } catch (const std::exception& error) {
    throw HandoffError(what + error.what());
  }
}

}  // namespace

UniqueFd pack_state(const std::vector<HandedFd>& descriptors) {
  Parcel parcel = make_parcel();
  for (std::size_t begin = 0; begin < descriptors.size(); begin += kParcelMessageSize) {
    std::string names;
    std::vector<int> numbers;
    for (std::size_t i = begin; i < std::min(begin + kParcelMessageSize, descriptors.size()); ++i) {
      names += (numbers.empty() ? "" : ":") + descriptors[i].name;
      numbers.push_back(descriptors[i].fd);
    }
    if (const int error = put_into_parcel(parcel.entrance.get(), numbers, names))
      throw_system_error(error, "packing of the supervisor's state");
  }
  return std::move(parcel.held);
}

SupervisorState unpack_state(int parcel) {
  SupervisorState state = Unpacker(false).unpack(take_messages_out_of_parcel(parcel));
  state.upgraded = true;
  return state;
}

SupervisorState unpack_kept_state(int parcel) {
  SupervisorState state = Unpacker(true).unpack(look_into_parcel(parcel));
  std::erase_if(state.ports, [](const Port::Inherited& port) {
    try {
      require_usable_port(port);
      return false;
    } catch (const HandoffError& error) {
      log::error("{}; it begins anew, and connections of before end", error.what());
      return true;
    }
  });
  return state;
}

namespace {

/// One socket that came twice would be accepted from twice.
void drop_duplicates(std::vector<NamedFd>& inherited) {
  std::map<std::uint64_t, int> numbers;
  std::erase_if(inherited, [&](const NamedFd& item) {
    const std::uint64_t cookie = socket_cookie(item.fd.get());
    const auto [first, added] = numbers.try_emplace(cookie, item.number);
    if (cookie == 0 || added) return false;
    log::warning("Inherited {} is the same socket as descriptor {}; closed",
                 describe_inherited(item), first->second);
    return true;
  });
}

}  // namespace

std::vector<NamedFd> take_inherited() {
  raise_descriptor_limit();
  std::vector<NamedFd> inherited = receive_descriptors();
  for (NamedFd& item : inherited)
    item.fd = UniqueFd::adopt(
        check_call(::fcntl(item.fd.get(), F_DUPFD_CLOEXEC, 3 + kMaxHandedDescriptors),
                   "dup of inherited socket " + item.name));
  reserve_handoff_numbers();
  drop_duplicates(inherited);
  return inherited;
}

namespace {

/// What a store of ours was put in as, the newest last.
std::vector<NamedFd> take_kept(std::vector<NamedFd>& inherited) {
  const auto others = std::stable_partition(
      inherited.begin(), inherited.end(),
      [](const NamedFd& item) { return kept_number(item.name) == 0 || !is_parcel(item.fd.get()); });
  std::vector<NamedFd> kept(std::make_move_iterator(others),
                            std::make_move_iterator(inherited.end()));
  inherited.erase(others, inherited.end());
  std::sort(kept.begin(), kept.end(), [](const NamedFd& left, const NamedFd& right) {
    return kept_number(left.name) < kept_number(right.name);
  });
  return kept;
}

}  // namespace

SupervisorState take_state(std::vector<NamedFd> inherited) {
  for (const NamedFd& item : inherited)
    if (item.name == handoff_name::kSupervisorState) return unpack_state(item.fd.get());
  const std::vector<NamedFd> kept = take_kept(inherited);
  SupervisorState state;
  if (!kept.empty()) state = unpack_kept_state(kept.back().fd.get());
  for (const NamedFd& item : kept) state.kept = kept_number(item.name);
  for (std::size_t i = 0; i + 1 < kept.size(); ++i) {
    log::info("'{}' in the service manager's store is outdated; closed", kept[i].name);
    state.stale.push_back(kept[i].name);
  }
  state.sockets = std::move(inherited);
  return state;
}

void require_usable(const SupervisorState& state) {
  for (const Port::Inherited& port : state.ports) require_usable_port(port);
}

}  // namespace serverd
