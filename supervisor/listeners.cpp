#include "supervisor/listeners.h"

#include "common/os/socket.h"

#include <fmt/format.h>

#include <cerrno>
#include <map>
#include <set>
#include <system_error>

namespace serverd {
namespace {

/// The kernel cuts it to net.core.somaxconn.
constexpr int kBacklog = 4096;

class Binder final {
 public:
  Binder(const ServiceConfig& service, const std::vector<NamedFd>& inherited,
         const HaveListener& have)
      : service_(service), inherited_(inherited), have_(have) {}

  BindResult bind() {
    for (const ListenRange& range : service_.listen) {
      if (range.inherited_name.empty())
        bind_range(range);
      else
        take_inherited(range.inherited_name);
    }
    for (auto& [port, fds] : by_port_)
      if (!failed_ports_.contains(port)) result_.ports.push_back({port, std::move(fds)});
    return std::move(result_);
  }

 private:
  void bind_range(const ListenRange& range) {
    for (std::uint32_t port = range.first_port; port <= range.last_port; ++port)
      bind_one(range.host, static_cast<std::uint16_t>(port));
  }

  void bind_one(const std::string& host, std::uint16_t port) {
    try {
      const auto address = SocketAddress::from_host(host, port);
      if (!address) throw std::system_error(EINVAL, std::generic_category(), "bind " + host);
      UniqueFd fd = have_(*address);
      by_port_[port].push_back(fd ? std::move(fd) : listen_on(*address, kBacklog));
    } catch (const std::system_error& error) {
      failed_ports_.insert(port);
      result_.failures.emplace_back(error.what());
    }
  }

  void take_inherited(const std::string& name) {
    bool found = false;
    for (const NamedFd& item : inherited_) {
      if (item.name != name) continue;
      found = true;
      by_port_[SocketAddress::local_of(item.fd.get()).port()].push_back(duplicate(item.fd.get()));
    }
    if (found) return;
    result_.failures.push_back(fmt::format(
        "service {}: no socket named '{}' was inherited (LISTEN_FDNAMES)", service_.name, name));
  }

  const ServiceConfig& service_;
  const std::vector<NamedFd>& inherited_;
  const HaveListener& have_;
  std::map<std::uint16_t, std::vector<UniqueFd>> by_port_;
  std::set<std::uint16_t> failed_ports_;
  BindResult result_;
};

}  // namespace

std::string PortListeners::addresses() const {
  std::string text;
  for (const UniqueFd& fd : fds)
    text += (text.empty() ? "" : ",") + SocketAddress::local_of(fd.get()).to_string();
  return text;
}

BindResult bind_listeners(const ServiceConfig& service, const std::vector<NamedFd>& inherited,
                          const HaveListener& have) {
  return Binder(service, inherited, have).bind();
}

}  // namespace serverd
