#include "supervisor/listeners.h"

#include "common/os/socket.h"
#include "supervisor/inherited.h"

#include <fmt/format.h>

#include <algorithm>
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
      if (!fd) fd = inherited_for(*address);
      add(port, fd ? std::move(fd) : listen_on(*address, kBacklog));
    } catch (const std::system_error& error) {
      failed_ports_.insert(port);
      result_.failures.push_back(error.what() + hint_for(port));
    }
  }

  UniqueFd inherited_for(const SocketAddress& address) const {
    for (const NamedFd& item : inherited_)
      if (not_a_listener(item.fd.get()).empty() && listens_on(item.fd.get(), address))
        return duplicate(item.fd.get());
    return {};
  }

  /// An inherited socket may stand in the way because it has another address than is configured.
  std::string hint_for(std::uint16_t port) const {
    for (const NamedFd& item : inherited_)
      if (not_a_listener(item.fd.get()).empty() &&
          SocketAddress::local_of(item.fd.get()).port() == port)
        return fmt::format("; inherited was {}", describe_inherited(item));
    return "";
  }

  void take_inherited(const std::string& name) {
    bool found = false;
    for (const NamedFd& item : inherited_) {
      if (item.name != name) continue;
      found = true;
      if (const std::string what = not_a_listener(item.fd.get()); !what.empty())
        fail(fmt::format("inherited {} is {}; a listening TCP socket is due",
                         describe_inherited(item), what));
      else
        add(SocketAddress::local_of(item.fd.get()).port(), duplicate(item.fd.get()));
    }
    if (!found)
      fail(fmt::format("no socket named '{}' was inherited (LISTEN_FDNAMES); {}", name,
                       all_inherited()));
  }

  std::string all_inherited() const {
    std::string text;
    for (const NamedFd& item : inherited_)
      text += (text.empty() ? "there is " : ", ") + describe_inherited(item);
    return text.empty() ? "there is none" : text;
  }

  /// The same socket may be meant by its name and by its address, or by both of its families.
  void add(std::uint16_t port, UniqueFd fd) {
    std::vector<UniqueFd>& fds = by_port_[port];
    const std::uint64_t cookie = socket_cookie(fd.get());
    if (std::none_of(fds.begin(), fds.end(),
                     [&](const UniqueFd& other) { return socket_cookie(other.get()) == cookie; }))
      fds.push_back(std::move(fd));
  }

  void fail(const std::string& what) {
    result_.failures.push_back(fmt::format("service {}: {}", service_.name, what));
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
