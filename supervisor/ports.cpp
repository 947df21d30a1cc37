#include "supervisor/ports.h"

#include "common/log.h"
#include "supervisor/inherited.h"
#include "supervisor/output_dirs.h"
#include "supervisor/start_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

namespace serverd {
namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

/// SO_COOKIE of every socket in a plan.
std::set<std::uint64_t> cookies_of(const Plan& plan) {
  std::set<std::uint64_t> cookies;
  for (const Plan::Item& item : plan.ports)
    for (const UniqueFd& fd : item.listeners.fds) cookies.insert(socket_cookie(fd.get()));
  return cookies;
}

}  // namespace

void warn_of_unused(const Plan& plan, const std::vector<NamedFd>& inherited) {
  const std::set<std::uint64_t> used = cookies_of(plan);
  for (const NamedFd& item : inherited)
    if (!used.contains(socket_cookie(item.fd.get())))
      log::warning("Inherited {} is not used by any service", describe_inherited(item));
}

Port* Ports::find(std::uint16_t number) const noexcept {
  const auto found = std::find_if(begin(), end(), [&](const auto& port) {
    return port->number() == number && !port->retired();
  });
  return found == end() ? nullptr : found->get();
}

Port* Ports::of_worker(pid_t pid) const noexcept {
  const auto found =
      std::find_if(begin(), end(), [&](const auto& port) { return port->worker() == pid; });
  return found == end() ? nullptr : found->get();
}

std::size_t Ports::count(std::initializer_list<PoolState> states) const {
  return static_cast<std::size_t>(std::count_if(begin(), end(), [&](const auto& port) {
    return std::find(states.begin(), states.end(), port->state()) != states.end();
  }));
}

std::size_t Ports::count_configured(std::initializer_list<PoolState> states) const {
  return static_cast<std::size_t>(std::count_if(begin(), end(), [&](const auto& port) {
    const bool meant = states.size() == 0 ||
                       std::find(states.begin(), states.end(), port->state()) != states.end();
    return meant && !port->retired();
  }));
}

Plan Ports::plan(const Config& config, const std::vector<NamedFd>& inherited,
                 const std::optional<UserIds>& user) const {
  Plan plan;
  std::vector<std::string> failures;
  for (const ServiceConfig& service : config.services) {
    BindResult bound = bind_listeners(service, inherited, [this](const SocketAddress& address) {
      return have_listener(address);
    });
    failures.insert(failures.end(), bound.failures.begin(), bound.failures.end());
    const PortSettings settings = PortSettings::from(config, service);
    for (PortListeners& listeners : bound.ports) {
      // The config's own ports cannot overlap; inherited ones show what they are only now.
      for (const Plan::Item& other : plan.ports)
        if (other.listeners.port == listeners.port)
          failures.push_back(fmt::format("service {}: port {} is served by another service already",
                                         service.name, listeners.port));
      plan.ports.push_back({settings, std::move(listeners)});
    }
  }
  if (!failures.empty() && (!config.daemon.skip_bind_failures || plan.ports.empty()))
    throw StartFailure(kExitBind, joined(failures));
  for (const std::string& failure : failures) log::error("{}; going on without", failure);
  for (const ServiceConfig& service : config.services)
    prepare_output(service, user, config.daemon.sandbox);
  return plan;
}

UniqueFd Ports::have_listener(const SocketAddress& address) const {
  for (const auto& port : ports_)
    for (const UniqueFd& fd : port->listeners().fds)
      if (SocketAddress::local_of(fd.get()) == address) return duplicate(fd.get());
  return {};
}

void Ports::carry_out(Plan plan) {
  for (const auto& port : ports_) {
    const bool wanted =
        std::any_of(plan.ports.begin(), plan.ports.end(),
                    [&](const Plan::Item& item) { return item.listeners.port == port->number(); });
    if (wanted || port->retired()) continue;
    log::info(port->subject(),
              "Port {} is no longer configured: it accepts nothing more and drains",
              port->number());
    port->retire();
  }
  for (Plan::Item& item : plan.ports) {
    Port* port = find(item.listeners.port);
    if (port != nullptr && port->protocol() != item.settings.protocol) {
      // Its connections end as they began; the same sockets serve newcomers.
      log::info(port->subject(), "Port {} changes from {} to {}: what is connected drains",
                port->number(), port->protocol(), item.settings.protocol);
      port->retire();
      port = nullptr;
    }
    if (port != nullptr) {
      if (port->configure(std::move(item.settings), std::move(item.listeners)))
        log::info(port->subject(), "Port {} takes new settings", port->number());
      continue;
    }
    for (const UniqueFd& fd : item.listeners.fds)
      log::info({.service = item.settings.service, .port = item.listeners.port}, "Listening on {}",
                SocketAddress::local_of(fd.get()).to_string());
    ports_.push_back(
        std::make_unique<Port>(environment_, std::move(item.settings), std::move(item.listeners)));
    ports_.back()->want_up();
  }
}

const Port& Ports::adopt(Port::Inherited inherited) {
  ports_.push_back(std::make_unique<Port>(environment_, std::move(inherited)));
  if (ports_.back()->retired()) ports_.back()->retire();
  return *ports_.back();
}

void Ports::drop_retired() {
  std::erase_if(ports_, [](const auto& port) {
    return port->retired() && port->state() == PoolState::kDown;
  });
}

}  // namespace serverd
