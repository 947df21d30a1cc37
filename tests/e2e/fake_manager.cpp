#include "tests/e2e/fake_manager.h"

#include "common/os/descriptor_message.h"
#include "common/os/error.h"
#include "common/os/unix_socket.h"
#include "common/parcel.h"

#include <sstream>
#include <stdexcept>

#include <poll.h>
#include <sys/socket.h>

namespace serverd::test {
namespace {

bool has(const std::string& message, const std::string& line) {
  return ("\n" + message + "\n").find("\n" + line + "\n") != std::string::npos;
}

std::string value_of(const std::string& message, const std::string& key) {
  const std::string text = "\n" + message + "\n";
  const std::size_t at = text.find("\n" + key + "=");
  if (at == std::string::npos) return "stored";
  const std::size_t begin = at + key.size() + 2;
  return text.substr(begin, text.find('\n', begin) - begin);
}

}  // namespace

FakeManager::FakeManager(const Workspace& workspace, std::size_t store_size)
    : workspace_(workspace),
      path_(workspace / "notify"),
      store_size_(store_size),
      socket_(UniqueFd::adopt(
          check_call(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "notify socket"))) {
  const sockaddr_un address = unix_address(path_);
  check_call(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
             "bind " + path_);
  thread_ = std::thread([this] { run(); });
}

FakeManager::~FakeManager() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void FakeManager::run() {
  for (;;) {
    bool reading = false;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      reading = reading_;
    }
    pollfd ready{socket_.get(), POLLIN, 0};
    if (::poll(&ready, reading ? 1 : 0, 5) != 1) continue;
    char text[8192];
    alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
    iovec part{text, sizeof text};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n >= 0) take(std::string(text, static_cast<std::size_t>(n)), received_descriptors(header));
  }
}

/// The descriptors of BARRIER=1 are closed by the destructor, which is what it waits for.
void FakeManager::take(const std::string& message, std::vector<UniqueFd> fds) {
  const std::lock_guard lock(mutex_);
  heard_ += message + "\n\n";
  const std::string name = value_of(message, "FDNAME");
  if (has(message, "FDSTOREREMOVE=1"))
    std::erase_if(store_, [&](const NamedFd& item) { return item.name == name; });
  if (!has(message, "FDSTORE=1")) return;
  for (UniqueFd& fd : fds) {
    if (store_.size() == store_size_)
      ++refused_;
    else
      store_.push_back({name, std::move(fd)});
  }
}

void FakeManager::activate(const std::string& name, UniqueFd fd) {
  activated_.push_back({name, std::move(fd)});
}

void FakeManager::read(bool on) {
  const std::lock_guard lock(mutex_);
  reading_ = on;
}

std::unique_ptr<Program> FakeManager::start(std::vector<std::string> arguments,
                                            std::vector<std::string> variables) {
  const std::lock_guard lock(mutex_);
  Program::Options options;
  options.directory = workspace_.path().string();
  options.variables = std::move(variables);
  options.variables.push_back("NOTIFY_SOCKET=" + path_);
  options.variables.push_back("FDSTORE=" + std::to_string(store_size_));
  for (const NamedFd& item : activated_) options.descriptors.emplace_back(item.name, item.fd.get());
  for (const NamedFd& item : store_) options.descriptors.emplace_back(item.name, item.fd.get());
  arguments.insert(arguments.begin(),
                   {built("stream-serverd"), "--runtime-dir", workspace_ / "run"});
  return std::make_unique<Program>(std::move(arguments), options);
}

std::unique_ptr<Program> FakeManager::start_up(std::vector<std::string> arguments,
                                               std::vector<std::string> variables) {
  std::unique_ptr<Program> program = start(std::move(arguments), std::move(variables));
  if (!program->wait_for_err("ports up"))
    throw std::runtime_error("the server did not start:\n" + program->err());
  return program;
}

std::string FakeManager::heard() const {
  const std::lock_guard lock(mutex_);
  return heard_;
}

bool FakeManager::wait_for(const std::string& text) const {
  return eventually([&] { return heard().find(text) != std::string::npos; });
}

std::vector<std::string> FakeManager::stored() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const NamedFd& item : store_) names.push_back(item.name);
  return names;
}

std::size_t FakeManager::connections_kept() const {
  const std::lock_guard lock(mutex_);
  if (store_.empty()) return 0;
  std::size_t count = 0;
  for (ParcelMessage& state : look_into_parcel(store_.back().fd.get())) {
    std::istringstream names(state.text);
    std::string name;
    for (const UniqueFd& fd : state.descriptors)
      if (std::getline(names, name, ':') && name.ends_with(".snapshot"))
        for (const ParcelMessage& some : look_into_parcel(fd.get()))
          count += some.descriptors.size();
  }
  return count;
}

void FakeManager::put_into_store(const std::string& name, UniqueFd fd) {
  const std::lock_guard lock(mutex_);
  store_.push_back({name, std::move(fd)});
}

std::size_t FakeManager::refused() const {
  const std::lock_guard lock(mutex_);
  return refused_;
}

}  // namespace serverd::test
