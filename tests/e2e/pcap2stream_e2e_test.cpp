#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace serverd::test {
namespace {

namespace fs = std::filesystem;

const std::string kDemo = std::string(SOURCE_DIR) + "/tests/data/demo.pcap";

std::string sha256(const std::string& file) {
  return run_program({"sha256sum", file}).out.substr(0, 64);
}

TEST(Pcap2Stream, DemoCaptureArrivesByteForByte) {
  Workspace workspace;
  const auto base = free_ports(3);
  Server server(workspace, {"stream", "127.0.0.1", std::to_string(base), "3"});
  const Finished sent =
      run_program({built("pcap2stream"), "--digest", kDemo, "127.0.0.1", std::to_string(base)});
  EXPECT_EQ(sent.code, 0) << sent.err;
  EXPECT_EQ(server.stop(SIGTERM), 0);
  std::istringstream lines(sent.out);
  std::string line;
  int compared = 0;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string digest;
    std::string source;
    std::uint64_t bytes = 0;
    unsigned port = 0;
    if (!(fields >> digest >> bytes >> source >> port) || digest.size() != 64) continue;
    const std::string file =
        only_file(workspace.path() / "output", "stream_" + std::to_string(port) + "_");
    ASSERT_NE(file, "") << line;
    EXPECT_EQ(fs::file_size(file), bytes);
    EXPECT_EQ(sha256(file), digest);
    ++compared;
  }
  EXPECT_GE(compared, 3) << sent.out;
  EXPECT_NE(sent.out.find("New connection established for "), std::string::npos) << sent.out;
}

TEST(Pcap2Stream, ReplaysATruncatedCaptureUpToTheCutAndExits74) {
  Workspace workspace;
  std::string capture = file_content(kDemo);
  capture.resize(capture.size() / 2 + 7);
  workspace.write("cut.pcap", capture);
  const auto base = free_ports(3);
  Server server(workspace, {"stream", "127.0.0.1", std::to_string(base), "3"});
  const Finished sent = run_program(
      {built("pcap2stream"), workspace / "cut.pcap", "127.0.0.1", std::to_string(base)});
  EXPECT_EQ(sent.code, 74) << sent.err;
  EXPECT_NE(sent.err.find("cut.pcap"), std::string::npos) << sent.err;
  EXPECT_EQ(server.stop(SIGTERM), 0);
  EXPECT_NE(only_file(workspace.path() / "output", "stream_" + std::to_string(base)), "");
}

TEST(Pcap2Stream, RefusesWhatIsNoCaptureAndWrongArguments) {
  Workspace workspace;
  workspace.write("text.pcap", "this is no capture file at all, whatever its name says\n");
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), built("pcap2stream"));
    return run_program(std::move(arguments), {workspace.path().string(), {}, ""}).code;
  };
  EXPECT_EQ(run({"text.pcap", "127.0.0.1", "5000"}), 74);
  EXPECT_EQ(run({"missing.pcap", "127.0.0.1", "5000"}), 74);
  EXPECT_EQ(run({}), 64);
  EXPECT_EQ(run({"text.pcap", "127.0.0.1", "port"}), 64);
  EXPECT_EQ(run({"text.pcap", "nowhere", "5000"}), 64);
  EXPECT_EQ(run({"text.pcap", "127.0.0.1", "70000"}), 64);
}

TEST(Pcap2Stream, SaysWhichConnectionFailed) {
  const auto base = free_ports(1);
  const Finished sent =
      run_program({built("pcap2stream"), kDemo, "127.0.0.1", std::to_string(base)});
  EXPECT_EQ(sent.code, 69);
  EXPECT_NE(sent.err.find("Connection failed for "), std::string::npos) << sent.err;
}

}  // namespace
}  // namespace serverd::test
