#include "supervisor/supervisor_state.h"

#include "common/config.h"
#include "common/ledger.h"
#include "common/os/error.h"
#include "common/os/memfd.h"
#include "common/parcel.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <span>

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

template <typename Number>
Number number_in(const std::string& text, const std::string& name) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    throw HandoffError(fmt::format("supervisor state: '{}' is malformed", name));
  return number;
}

class Unpacker final {
 public:
  SupervisorState unpack(int parcel) {
    for (ParcelMessage& message : take_messages_out_of_parcel(parcel)) {
      const std::vector<std::string> names = split(message.text, ':');
      if (names.size() != message.descriptors.size())
        throw HandoffError("supervisor state: names and descriptors differ in number");
      for (std::size_t i = 0; i < names.size(); ++i)
        place(names[i], std::move(message.descriptors[i]));
    }
    for (auto& [number, port] : ports_) {
      require_usable(port);
      state_.ports.push_back(std::move(port));
    }
    return std::move(state_);
  }

 private:
  void place(const std::string& name, UniqueFd fd) {
    const std::vector<std::string> words = split(name, '.');
    if (name == "lock") {
      state_.lock = std::move(fd);
    } else if (name.starts_with("socket.")) {
      state_.sockets.push_back({name.substr(7), std::move(fd)});
    } else if (words[0] == "port" && words.size() >= 3) {
      const auto number = number_in<std::uint16_t>(words[1], name);
      ports_[number].port = number;
      place_in_port(ports_[number], words, name, std::move(fd));
    } else {
      throw HandoffError(fmt::format("supervisor state: unknown name '{}'", name));
    }
  }

  static void place_in_port(Port::Inherited& port, const std::vector<std::string>& words,
                            const std::string& name, UniqueFd fd) {
    const std::string& role = words[2];
    if (role == "listen") {
      port.listeners.push_back(std::move(fd));
    } else if (role == "config") {
      port.config = std::move(fd);
    } else if (role == "ledger") {
      port.ledger = std::move(fd);
    } else if (role == "parcel") {
      port.parcel = std::move(fd);
    } else if (role == "parked") {
      port.parcels.push_back(std::move(fd));
    } else if (role == "worker" && words.size() == 6) {
      port.channel = std::move(fd);
      port.worker = number_in<pid_t>(words[3], name);
      port.generation = number_in<unsigned>(words[4], name);
      port.ready = words[5] == "ready";
    } else {
      throw HandoffError(fmt::format("supervisor state: unknown name '{}'", name));
    }
  }

  static void require_usable(const Port::Inherited& port) {
    const std::string what = fmt::format("supervisor state: port {}: ", port.port);
    if (!port.ledger || !port.config) throw HandoffError(what + "ledger or config is missing");
    try {
      const ledger::Ledger ledger(port.ledger.get(), Mapping::Access::kRead);
    } catch (const std::exception& error) {
      throw HandoffError(what + error.what());
    }
    const auto parsed =
        parse_config(read_all(port.config.get(), kMaxConfigSize), "config", ConfigUse::kWorker);
    if (const auto* errors = std::get_if<ConfigErrors>(&parsed))
      throw HandoffError(what + errors->lines.front());
  }

  std::map<std::uint16_t, Port::Inherited> ports_;
  SupervisorState state_;
};

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

SupervisorState unpack_state(int parcel) { return Unpacker().unpack(parcel); }

SupervisorState take_state(std::vector<NamedFd> inherited) {
  for (const NamedFd& item : inherited)
    if (item.name == handoff_name::kSupervisorState) return unpack_state(item.fd.get());
  SupervisorState none;
  none.sockets = std::move(inherited);
  return none;
}

}  // namespace serverd
