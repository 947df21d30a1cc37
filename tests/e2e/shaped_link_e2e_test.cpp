// Between two hosts of our own: a network namespace behind a veth pair whose link is slow.
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

namespace serverd::test {
namespace {

constexpr const char* kServerHost = "10.213.7.1";
constexpr const char* kClientHost = "10.213.7.2";

void must_run(const std::vector<std::string>& arguments) {
  const Finished finished = run_program(arguments);
  if (finished.code != 0) throw std::runtime_error(arguments[0] + ": " + finished.err);
}

/// A host with one link to us, of 40 Mbit/s in either direction.
class SlowHost final {
 public:
  SlowHost() {
    must_run({"ip", "netns", "add", name_});
    must_run({"ip", "link", "add", ours_, "type", "veth", "peer", "name", theirs_});
    must_run({"ip", "link", "set", theirs_, "netns", name_});
    must_run({"ip", "addr", "add", std::string(kServerHost) + "/30", "dev", ours_});
    must_run({"ip", "link", "set", ours_, "up"});
    must_run(inside({"ip", "addr", "add", std::string(kClientHost) + "/30", "dev", theirs_}));
    must_run(inside({"ip", "link", "set", theirs_, "up"}));
    must_run(shaping(ours_));
    must_run(inside(shaping(theirs_)));
  }
  ~SlowHost() {
    run_program({"ip", "link", "del", ours_});
    run_program({"ip", "netns", "del", name_});
  }
  SlowHost(const SlowHost&) = delete;
  SlowHost& operator=(const SlowHost&) = delete;

  std::vector<std::string> inside(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = {"ip", "netns", "exec", name_};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }

 private:
  static std::vector<std::string> shaping(const std::string& device) {
    return {"tc",   "qdisc",  "add",   "dev",    device,    "root", "tbf",
            "rate", "40mbit", "burst", "32kbit", "latency", "50ms"};
  }

  std::string name_ = "serverd-" + std::to_string(::getpid());
  std::string ours_ = "sv" + std::to_string(::getpid() % 100000) + "a";
  std::string theirs_ = "sv" + std::to_string(::getpid() % 100000) + "b";
};

TEST(Accio, UploadsThroughASlowLinkAreExactThoughTheirWorkerIsKilled) {
  const SlowHost host;
  Workspace workspace;
  const auto port = free_ports(1);
  Server server(workspace, {"accio", std::to_string(port), "files"});
  const std::string content = pattern(4'000'000, 7);
  workspace.write("upload", content);
  std::vector<std::unique_ptr<Program>> clients;
  for (int i = 0; i < 2; ++i)
    clients.push_back(std::make_unique<Program>(
        host.inside({"nc", "-N", kServerHost, std::to_string(port)}),
        Program::Options{workspace.path().string(), {}, workspace / "upload"}));
  ASSERT_TRUE(server.wait_for_err("New connection", 2)) << server.err();
  ASSERT_TRUE(eventually([&] {
    return file_content(workspace.path() / "files/1.file").size() > content.size() / 10;
  }));
  EXPECT_LT(file_content(workspace.path() / "files/1.file").size(), content.size()) << "it is slow";
  ::kill(server.worker(port), SIGKILL);
  for (const auto& client : clients) {
    ASSERT_EQ(client->wait(Seconds(60)), 0) << client->err();
    EXPECT_EQ(client->out(), "accio\r\n");
  }
  for (const char* file : {"files/1.file", "files/2.file"})
    EXPECT_TRUE(file_content(workspace.path() / file) == content) << file;
  EXPECT_EQ(server.stop(SIGTERM), 0);
}

}  // namespace
}  // namespace serverd::test
