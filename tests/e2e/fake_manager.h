#pragma once

#include "common/handoff.h"
#include "tests/e2e/program.h"
#include "tests/e2e/server.h"

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace serverd::test {

/// What the daemon sees of a service manager: NOTIFY_SOCKET, sockets that were activated, and a
/// store of descriptors that come back at the next start, see sd_notify(3), sd_listen_fds(3) and
/// sd_pid_notify_with_fds(3). A thread reads what it is told.
class FakeManager final {
 public:
  /// `store_size`: FileDescriptorStoreMax.
  explicit FakeManager(const Workspace& workspace, std::size_t store_size = 16);
  ~FakeManager();
  FakeManager(const FakeManager&) = delete;
  FakeManager& operator=(const FakeManager&) = delete;

  /// A socket that is handed to every start.
  void activate(const std::string& name, UniqueFd fd);
  /// Stops and resumes reading.
  void read(bool on);

  /// Starts stream-serverd with what is activated and stored.
  std::unique_ptr<Program> start(std::vector<std::string> arguments,
                                 std::vector<std::string> variables = {});
  std::unique_ptr<Program> start_up(std::vector<std::string> arguments,
                                    std::vector<std::string> variables = {});

  /// Everything that was told, with an empty line behind each message.
  std::string heard() const;
  bool wait_for(const std::string& text) const;
  /// Names of what is in the store.
  std::vector<std::string> stored() const;
  /// How many connections a kill of everything would leave: duplicates in the newest of what is
  /// kept.
  std::size_t connections_kept() const;
  void put_into_store(const std::string& name, UniqueFd fd);
  /// What did not fit in.
  std::size_t refused() const;

 private:
  void run();
  void take(const std::string& message, std::vector<UniqueFd> fds);

  const Workspace& workspace_;
  std::string path_;
  std::size_t store_size_;
  UniqueFd socket_;
  mutable std::mutex mutex_;
  std::string heard_;
  std::vector<NamedFd> activated_;
  std::vector<NamedFd> store_;
  std::size_t refused_ = 0;
  bool reading_ = true;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace serverd::test
