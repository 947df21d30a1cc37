// Breaks a running server in every way it promises to survive, for as long as asked, and compares
// every byte of every connection at the end. Usage: kill_campaign [--seed N] [--kills N]
#include "common/ledger.h"
#include "tests/e2e/server.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

namespace {

using namespace serverd::test;
namespace fs = std::filesystem;

constexpr const char* kRoomy = "size=2g,mode=0755";
constexpr std::uint64_t kMostBytes = 30'000'000'000;  // what the disk has to hold
constexpr std::uint64_t kBytesForKill = 50'000'000;
constexpr unsigned kLanes = 12;  // connections at a time to each port
constexpr std::uint64_t kOffset = 1469598103934665603U;

/// FNV-1a, fed byte by byte: what was sent and what was saved are compared without keeping either.
struct Digest {
  std::uint64_t hash = kOffset;
  std::uint64_t bytes = 0;

  void add(unsigned char byte) {
    hash = (hash ^ byte) * 1099511628211U;
    ++bytes;
  }
  bool operator==(const Digest&) const = default;
};

struct Tally {
  std::atomic<std::uint64_t> connections = 0;
  std::atomic<std::uint64_t> bytes = 0;
  std::atomic<std::uint64_t> resets_seen = 0;
  std::atomic<std::uint64_t> bulk_allowance = 0;  ///< bytes; grows with the kills
};

struct Options {
  unsigned seed = 1;
  unsigned kills = 200;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (value != nullptr && name == "--seed") {
      options.seed = static_cast<unsigned>(std::stoul(value));
    } else if (value != nullptr && name == "--kills") {
      options.kills = static_cast<unsigned>(std::stoul(value));
    } else {
      std::fprintf(stderr, "Usage: kill_campaign [--seed N] [--kills N]\n");
      std::exit(64);
    }
  }
  return options;
}

/// Ports by what is done with them.
enum Role { kShared, kSeparate, kSmallDisk, kRoles };

/// Runs connections one after the other on one lane of a port until told to stop. On a shared file
/// the upper half of each byte is the lane's number; on separate files each connection begins with
/// a line that names it.
class Lane final {
 public:
  Lane(std::uint16_t port, Role role, unsigned lane, unsigned seed, Tally& tally)
      : port_(port), role_(role), lane_(lane), random_(seed), tally_(tally), block_(1 << 20, '\0') {
    for (char& byte : block_)
      byte =
          static_cast<char>(role == kSeparate ? random_() >> 8 : lane << 4 | (random_() >> 8 & 15));
  }

  void run(const std::atomic<bool>& stop) {
    while (!stop) one_connection(stop);
  }

  const Digest& all() const { return all_; }
  std::uint64_t uniform() const { return uniform_; }
  const std::vector<std::pair<std::string, Digest>>& connections() const { return connections_; }
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  void one_connection(const std::atomic<bool>& stop) try {
    Client client("127.0.0.1", port_);
    ++tally_.connections;
    Digest own;
    std::string name;
    if (role_ == kSeparate) {
      name = "lane " + std::to_string(lane_) + " connection " + std::to_string(++count_) + "\n";
      if (!send(client, name, own, 0)) return;
    }
    // What is written to the small disk must stay on it.
    if (role_ == kSmallDisk) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const unsigned kind = role_ == kSmallDisk ? 3 + random_() % 3 : random_() % 6;
    const unsigned rounds = kind == 0 ? 0 : 1 + random_() % 60;
    for (unsigned i = 0; i < rounds && !stop; ++i) {
      const bool bulk = (kind == 1 || kind == 2) && tally_.bytes < tally_.bulk_allowance;
      const std::size_t size = bulk ? 1 + random_() % 250'000 : 1 + random_() % 300;
      const std::string bytes = kind == 4 && role_ != kSeparate
                                    ? std::string(size, static_cast<char>(0xF0 | lane_))
                                    : block_.substr(random_() % (block_.size() - size), size);
      if (!send(client, bytes, own, kind == 3 && bytes.size() < 50 ? MSG_OOB : 0)) return;
      if (!bulk && random_() % 4 == 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 5));
    }
    if (role_ == kSeparate) connections_.emplace_back(name, own);
    if (kind == 4) {  // what the peer's kernel has acknowledged must be saved, reset or not
      if (!client.wait_until_acknowledged()) failures_.push_back("not acknowledged in time");
      return client.reset();
    }
    client.half_close();
    if (!client.wait_for_close(Seconds(120))) failures_.push_back("not closed in time");
  } catch (const std::system_error& error) {
    failures_.push_back(error.what());
  }

  bool send(const Client& client, const std::string& bytes, Digest& own, int flags) {
    if (!client.send(bytes, flags)) {
      failures_.push_back(std::string("send: ") + std::strerror(errno));
      ++tally_.resets_seen;
      return false;
    }
    Digest& digest = role_ == kSeparate ? own : all_;
    for (const char byte : bytes)
      if (role_ != kSeparate && static_cast<unsigned char>(byte) >> 4 == 15)
        ++uniform_;
      else
        digest.add(static_cast<unsigned char>(byte));
    tally_.bytes += bytes.size();
    return true;
  }

  std::uint16_t port_;
  Role role_;
  unsigned lane_;
  std::minstd_rand random_;
  Tally& tally_;
  std::string block_;  ///< random bytes, of which each message is a piece
  unsigned count_ = 0;
  Digest all_;
  std::uint64_t uniform_ = 0;
  std::vector<std::pair<std::string, Digest>> connections_;
  std::vector<std::string> failures_;
};

class Campaign final {
 public:
  explicit Campaign(const Options& options) : options_(options), random_(options.seed) {}
  ~Campaign() {
    stop_ = true;
    server_.reset();
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }

  int run() {
    prepare();
    Program::Options started{workspace_.path().string(), {}, ""};
    server_ =
        std::make_unique<Program>(std::vector<std::string>{built("stream-serverd"), "--runtime-dir",
                                                           workspace_ / "run", "-c", "c.toml"},
                                  started);
    if (!server_->wait_for_err("ports up")) throw std::runtime_error(server_->err());
    const std::size_t descriptors = descriptors_of(server_->pid()).size();
    start_lanes();
    while (worker_kills_ < options_.kills && server_->running()) {
      allow_bulk();
      break_something();
    }
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    wait_until_quiet();
    check_leaks(descriptors);
    count_recoveries();
    server_->signal(SIGTERM);
    if (server_->wait(Seconds(30)).value_or(-1) != 0) failures_.push_back("the server did not end");
    compare();
    return report();
  }

 private:
  void prepare() {
    base_ = free_ports(kRoles);
    disk_ = workspace_.path() / "small";
    fs::create_directory(disk_);
    // A disk that can be full: only little is written to it.
    mounted_ = ::mount("tmpfs", disk_.c_str(), "tmpfs", 0, kRoomy) == 0;
    write_config(0);
  }

  void write_config(unsigned variant) {
    const auto service = [&](Role role, const std::string& output, const std::string& files) {
      return "[[service]]\nname = \"" + std::to_string(role) +
             "\"\nprotocol = \"stream\"\noutput = \"" + output + "\"\nfiles = \"" + files +
             "\"\nmax_connections = " + std::to_string(200 + variant % 5) +
             "\nlisten = [\"127.0.0.1:" + std::to_string(base_ + role) + "\"]\n";
    };
    workspace_.write("c.toml.new",
                     "[daemon]\nuser = \"\"\nlog_level = \"info\"\nstop_timeout = \"3s\"\n"
                     "[restart]\nrate = 1000\nquarantine_after = 1000\ninitial = \"1ms\"\n"
                     "maximum = \"5ms\"\nstart_timeout = \"2s\"\nwatchdog = \"700ms\"\n" +
                         service(kShared, "shared", "per-port") +
                         service(kSeparate, "separate", "per-connection") +
                         service(kSmallDisk, "small", "per-port"));
    fs::rename(workspace_.path() / "c.toml.new", workspace_.path() / "c.toml");
  }

  void start_lanes() {
    for (int role = 0; role < kRoles; ++role)
      for (unsigned lane = 0; lane < kLanes; ++lane)
        lanes_.push_back(std::make_unique<Lane>(port(role), static_cast<Role>(role), lane,
                                                options_.seed * 1000 + role * 100U + lane, tally_));
    for (const auto& lane : lanes_)
      threads_.emplace_back([this, &lane = *lane] { lane.run(stop_); });
  }

  std::uint16_t port(int role) const { return static_cast<std::uint16_t>(base_ + role); }

  /// The worker of a port, once it has its keeper; 0 if it does not come.
  pid_t kept_worker(std::uint16_t number) {
    pid_t found = 0;
    eventually(
        [&] {
          const std::vector<pid_t> children = children_of(server_->pid());
          // The number of one that is gone may be given to another.
          std::erase_if(doomed_, [&](pid_t pid) {
            return std::find(children.begin(), children.end(), pid) == children.end();
          });
          for (const pid_t pid : children) {
            const std::string title = file_content("/proc/" + std::to_string(pid) + "/cmdline");
            if (!title.starts_with("stream-worker:") ||
                title.find(":" + std::to_string(number)) == std::string::npos)
              continue;
            if (doomed_.contains(pid) || children_of(pid).empty()) continue;
            found = pid;
            return true;
          }
          return false;
        },
        Seconds(20));
    if (found == 0) failures_.push_back("no worker on port " + std::to_string(number));
    return found;
  }

  /// So that the last kill meets as much traffic as the first.
  void allow_bulk() {
    const std::uint64_t kills = options_.kills;
    tally_.bulk_allowance =
        std::min(kMostBytes, kills * kBytesForKill) * (worker_kills_ + 10) / kills;
  }

  void break_something() {
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % 8'000));
    const std::uint16_t number = port(static_cast<int>(random_() % kRoles));
    const unsigned choice = random_() % 1000;
    if (choice < 12) return reload();
    if (choice < 18) return upgrade();
    if (choice < 30) return fill_disk();
    const pid_t worker = kept_worker(number);
    if (worker == 0) return;
    if (choice < 60) return workers_may_be_leaving() ? void() : kill_keeper(worker);
    const int signal = choice < 75 ? SIGSTOP : choice < 200 ? SIGSEGV : SIGKILL;
    if (::kill(worker, signal) != 0) return;
    doomed_.insert(worker);
    ++actions_[signal == SIGKILL ? "SIGKILL" : signal == SIGSEGV ? "SIGSEGV" : "SIGSTOP"];
    ++worker_kills_;  // a stopped one is ended by the watchdog
  }

  /// A reload and an upgrade replace workers, which leave their connections to their keepers.
  bool workers_may_be_leaving() const {
    return std::chrono::steady_clock::now() - last_replacement_ < Seconds(3);
  }

  /// Worker and keeper dead at once is the documented loss, so the new keeper is waited for.
  void kill_keeper(pid_t worker) {
    const auto keepers = children_of(worker);
    if (keepers.empty() || ::kill(keepers.front(), SIGKILL) != 0) return;
    ++actions_["keeper SIGKILL"];
    eventually(
        [&] {
          const auto now = children_of(worker);
          const bool gone = fs::exists("/proc/" + std::to_string(worker)) == false;
          return gone || (!now.empty() && now.front() != keepers.front());
        },
        Seconds(5));
  }

  void reload() {
    write_config(static_cast<unsigned>(random_()));
    server_->signal(SIGHUP);
    last_replacement_ = std::chrono::steady_clock::now();
    ++actions_["reload"];
  }

  void upgrade() {
    server_->signal(SIGUSR2);
    last_replacement_ = std::chrono::steady_clock::now();
    ++actions_["upgrade"];
  }

  /// Full is a disk that is as large as what is on it.
  void fill_disk() {
    struct statvfs space {};
    if (!mounted_ || ::statvfs(disk_.c_str(), &space) != 0) return;
    const auto used = (space.f_blocks - space.f_bfree) * space.f_frsize;
    const std::string size = "size=" + std::to_string(std::max<std::uint64_t>(used, 4096));
    if (::mount("tmpfs", disk_.c_str(), "tmpfs", MS_REMOUNT, size.c_str()) != 0) return;
    ++actions_["disk full"];
    std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 300));
    ::mount("tmpfs", disk_.c_str(), "tmpfs", MS_REMOUNT, kRoomy);
  }

  void wait_until_quiet() {
    for (int role = 0; role < kRoles; ++role) kept_worker(port(role));
    eventually([&] { return children_of(server_->pid()).size() == kRoles; });
  }

  void check_leaks(std::size_t before) {
    const auto children = children_of(server_->pid()).size();
    if (children != kRoles)
      failures_.push_back("leak: " + std::to_string(children) + " child processes");
    std::size_t after = 0;
    if (!eventually([&] { return (after = descriptors_of(server_->pid()).size()) <= before; }))
      failures_.push_back("leak: " + std::to_string(before) + " descriptors before, " +
                          std::to_string(after) + " after");
  }

  void compare() {
    for (const auto& lane : lanes_)
      for (const std::string& failure : lane->failures()) failures_.push_back(failure);
    compare_shared(kShared, workspace_.path() / "shared");
    compare_shared(kSmallDisk, disk_);
    compare_separate(workspace_.path() / "separate");
    for (const std::string text :
         {"out of step", "was lost", "were lost", "given up", "impossible"})
      for (std::string log = server_->err(); log.find(text) != std::string::npos;) {
        const auto at = log.find(text);
        failures_.push_back("log: " + log.substr(log.rfind('\n', at) + 1, 160));
        break;
      }
    recoveries_["workers that went on"] = occurrences("went on with");
  }

  /// What the ledgers, which the supervisor holds, say about every recovery there was.
  void count_recoveries() {
    const fs::path table = "/proc/" + std::to_string(server_->pid()) + "/fd";
    for (const auto& entry : fs::directory_iterator(table)) {
      std::error_code gone;
      if (!fs::read_symlink(entry.path(), gone).string().starts_with("/memfd:ledger")) continue;
      const auto fd = serverd::UniqueFd::adopt(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
      const serverd::ledger::Ledger ledger(fd.get(), serverd::Mapping::Access::kRead);
      const serverd::ledger::Counters& counters = ledger.counters();
      ++ledgers_read_;
      generations_ += ledger.header().generation;
      recoveries_["torn writes cut off"] += counters.torn_repaired;
      recoveries_["written chunks finished"] += counters.completed;
      recoveries_["out of step"] += counters.out_of_step;
      recoveries_["connections lost"] +=
          counters.closed[static_cast<std::size_t>(serverd::ledger::Cause::kLost)];
    }
    if (ledgers_read_ != kRoles) failures_.push_back("the ledgers cannot be read");
    if (recoveries_["out of step"] + recoveries_["connections lost"] > 0)
      failures_.push_back("the ledgers tell of losses");
    if (generations_ < worker_kills_) failures_.push_back("fewer workers than kills");
  }

  std::uint64_t occurrences(const std::string& text) const {
    const std::string log = server_->err();
    std::uint64_t count = 0;
    for (auto at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++count;
    return count;
  }

  void compare_shared(Role role, const fs::path& directory) {
    std::array<Digest, kLanes> saved;
    std::array<std::uint64_t, 16> uniform{};
    for (const auto& entry : fs::directory_iterator(directory)) {
      std::ifstream file(entry.path(), std::ios::binary);
      std::vector<char> buffer(1 << 20);
      while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())),
             file.gcount() > 0)
        for (std::streamsize i = 0; i < file.gcount(); ++i) {
          const auto byte = static_cast<unsigned char>(buffer[static_cast<std::size_t>(i)]);
          if (byte >> 4 == 15) {
            ++uniform[byte & 15];
            continue;
          }
          if (byte >> 4 >= kLanes) {
            failures_.push_back("a byte that nobody sent");
            return;
          }
          saved[byte >> 4].add(byte);
        }
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const Digest& sent = lanes_[static_cast<std::size_t>(role) * kLanes + lane]->all();
      if (!(saved[lane] == sent))
        differ("shared file, lane " + std::to_string(lane), sent, saved[lane]);
    }
  }

  void compare_separate(const fs::path& directory) {
    std::map<std::string, Digest> saved;
    for (const auto& entry : fs::directory_iterator(directory)) {
      const std::string content = file_content(entry.path());
      Digest digest;
      for (const char byte : content) digest.add(static_cast<unsigned char>(byte));
      saved[content.substr(0, content.find('\n') + 1)] = digest;
    }
    for (unsigned lane = 0; lane < kLanes; ++lane)
      for (const auto& [name, sent] : lanes_[kSeparate * kLanes + lane]->connections())
        if (!(saved[name] == sent)) differ(name, sent, saved[name]);
  }

  void differ(const std::string& what, const Digest& sent, const Digest& saved) {
    failures_.push_back(what + ": " + std::to_string(sent.bytes) + " bytes sent, " +
                        std::to_string(saved.bytes) + " saved, contents differ");
    if (saved.bytes < sent.bytes) lost_ += sent.bytes - saved.bytes;
    if (saved.bytes > sent.bytes) doubled_ += saved.bytes - sent.bytes;
  }

  int report() {
    std::printf("seed %u\n", options_.seed);
    std::printf("worker kills   %10u\n", worker_kills_);
    for (const auto& [name, count] : actions_)
      std::printf("  %-24s %8llu\n", name.c_str(), static_cast<unsigned long long>(count));
    std::printf("bytes          %10.3f GB\n", static_cast<double>(tally_.bytes) / 1e9);
    std::printf("connections    %10llu\n", static_cast<unsigned long long>(tally_.connections));
    std::printf("workers        %10llu\n", static_cast<unsigned long long>(generations_));
    for (const auto& [name, count] : recoveries_)
      std::printf("  %-24s %8llu\n", name.c_str(), static_cast<unsigned long long>(count));
    std::printf("bytes lost     %10llu\nbytes doubled  %10llu\nresets seen    %10llu\n",
                static_cast<unsigned long long>(lost_), static_cast<unsigned long long>(doubled_),
                static_cast<unsigned long long>(tally_.resets_seen));
    for (const std::string& failure : failures_) std::printf("FAILED: %s\n", failure.c_str());
    if (!failures_.empty()) {
      const std::string log = server_->err();
      std::ofstream("kill_campaign.log") << log;
      std::printf("the server's log is in kill_campaign.log\n");
    }
    std::printf("%s\n",
                failures_.empty() ? "every byte was saved exactly once" : "there were losses");
    if (mounted_) ::umount2(disk_.c_str(), MNT_DETACH);
    return failures_.empty() ? 0 : 1;
  }

  Options options_;
  std::minstd_rand random_;
  Workspace workspace_;
  std::uint16_t base_ = 0;
  fs::path disk_;
  bool mounted_ = false;
  std::unique_ptr<Program> server_;
  Tally tally_;
  std::atomic<bool> stop_ = false;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::thread> threads_;
  unsigned worker_kills_ = 0;
  std::chrono::steady_clock::time_point last_replacement_{};
  std::set<pid_t> doomed_;  ///< killed or stopped, though it may not be dead yet
  std::map<std::string, std::uint64_t> actions_;
  std::map<std::string, std::uint64_t> recoveries_;
  unsigned ledgers_read_ = 0;
  std::uint64_t generations_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t doubled_ = 0;
  std::vector<std::string> failures_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    return Campaign(parse(argc, argv)).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kill_campaign: %s\n", error.what());
    return 1;
  }
}
