#include "client/pcap2stream/replay.h"

#include "tests/client/pcap2stream/listener.h"
#include "tests/client/pcap2stream/packets.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>

namespace serverd::pcap2stream {
namespace {

/// A capture file of its own, removed at the end.
class TemporaryFile final {
 public:
  explicit TemporaryFile(const Buffer& content) : path_(testing::TempDir() + "pcap2streamXXXXXX") {
    const UniqueFd fd = UniqueFd::adopt(::mkstemp(path_.data()));
    EXPECT_EQ(::write(fd.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
  }
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Result {
  ExitCode code = kExitBug;
  std::string out;
  std::string err;
};

Result replay(const ReplayOptions& options, std::uint16_t port) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Result result;
  {
    Loop loop;
    Console console;
    result.code = Replay(loop, console, options, {"127.0.0.1", port}).run();
  }
  result.out = testing::internal::GetCapturedStdout();
  result.err = testing::internal::GetCapturedStderr();
  return result;
}

std::future<std::string> receive(const Listener& listener) {
  return std::async(std::launch::async,
                    [&listener] { return read_to_end(listener.accept().get()); });
}

constexpr std::uint64_t kMillisecond = 1'000'000;

Buffer two_sources() {
  return pcap_file({
      {0, ethernet(ipv4(Segment{.from = 6, .sequence = 0, .payload = "six"})), 0},
      {0, ethernet(ipv4(Segment{.from = 5, .sequence = 3, .payload = "def"})), 0},
      {300 * kMillisecond, ethernet(ipv4(Segment{.from = 5, .sequence = 6, .payload = "g"})), 0},
  });
}

TEST(Replay, SendsEachSourceAndPrintsDigests) {
  // sha256sum(1) of "six" and of "defg".
  constexpr auto kSix = "44778d82365e4af681c40d5f0eef5cf6f5899d3f0ac335050a7ed6779cf3f674";
  constexpr auto kDefg = "4c8a43980498636e9c1d1595fa5d115af7937c2422dfe68a2520a52b7a5fb4de";
  const TemporaryFile capture(two_sources());
  const std::uint16_t base = free_port_range(2);
  const Listener first(base), second(static_cast<std::uint16_t>(base + 1));
  auto six = receive(first), five = receive(second);
  const Result result = replay({.path = capture.path(), .digests = true}, base);
  EXPECT_EQ(result.code, kExitOk) << result.err;
  EXPECT_EQ(six.get(), "six");
  EXPECT_EQ(five.get(), "defg");
  EXPECT_EQ(result.out, fmt::format("New connection established for 10.0.0.6 to 127.0.0.1:{0}\n"
                                    "New connection established for 10.0.0.5 to 127.0.0.1:{1}\n"
                                    "{2} 3 10.0.0.6 {0}\n"
                                    "{3} 4 10.0.0.5 {1}\n",
                                    base, base + 1, kSix, kDefg));
}

TEST(Replay, RepeatsOnTheSameConnections) {
  const TemporaryFile capture(two_sources());
  const std::uint16_t base = free_port_range(2);
  const Listener first(base), second(static_cast<std::uint16_t>(base + 1));
  auto six = receive(first), five = receive(second);
  EXPECT_EQ(replay({.path = capture.path(), .passes = 3}, base).code, kExitOk);
  EXPECT_EQ(six.get(), "sixsixsix");
  EXPECT_EQ(five.get(), "defgdefgdefg");
}

TEST(Replay, KeepsTheCapturesTiming) {
  const TemporaryFile capture(two_sources());
  const std::uint16_t base = free_port_range(2);
  const Listener first(base), second(static_cast<std::uint16_t>(base + 1));
  auto six = receive(first), five = receive(second);
  const auto began = Clock::now();
  EXPECT_EQ(replay({.path = capture.path(), .speed = 2}, base).code, kExitOk);
  EXPECT_GE(Clock::now() - began, std::chrono::milliseconds(150));
  EXPECT_EQ(five.get(), "defg");
}

TEST(Replay, SendsAllBeforeACutAndReportsIt) {
  Buffer content = two_sources();
  content.pop_back();
  const TemporaryFile capture(content);
  const std::uint16_t base = free_port_range(2);
  const Listener first(base), second(static_cast<std::uint16_t>(base + 1));
  auto six = receive(first), five = receive(second);
  const Result result = replay({.path = capture.path()}, base);
  EXPECT_EQ(result.code, kExitIo);
  EXPECT_NE(result.err.find("cut or damaged after packet 2"), std::string::npos) << result.err;
  EXPECT_EQ(five.get(), "def");
}

TEST(Replay, ReportsAGapAndSucceeds) {
  const TemporaryFile capture(
      pcap_file({{0, ethernet(ipv4(Segment{.sequence = 0, .payload = "abc"})), 0},
                 {0, ethernet(ipv4(Segment{.sequence = 5, .payload = "fg"})), 0}}));
  const Listener listener;
  auto got = receive(listener);
  const Result result = replay({.path = capture.path()}, listener.port());
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err,
            "Gap in 10.0.0.5:4000 > 10.0.0.9:80 at offset 3: 2 bytes are not in the capture\n");
  EXPECT_EQ(got.get(), "abcfg");
}

TEST(Replay, SendsTheOtherSourcesIfOneCannotConnect) {
  const TemporaryFile capture(two_sources());
  const std::uint16_t base = free_port_range(1);
  const Result result = replay({.path = capture.path()}, base);
  EXPECT_EQ(result.code, kExitBind);
  EXPECT_NE(result.err.find("Connection failed for 10.0.0.6"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("Connection failed for 10.0.0.5"), std::string::npos) << result.err;
}

TEST(Replay, SucceedsWithNothingToSend) {
  const TemporaryFile capture(pcap_file({}));
  const Result result = replay({.path = capture.path()}, 1);
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err, capture.path() + ": no TCP payload\n");
}

TEST(Replay, HoldsABoundedPartOfALargeCapture) {
  std::vector<Recorded> packets;
  const std::string payload(60'000, 'x');
  for (std::uint32_t i = 0; i < 500; ++i)
    packets.push_back({0, ethernet(ipv4(Segment{.sequence = i * 60'000, .payload = payload})), 0});
  Buffer file = pcap_file({});
  for (const Recorded& packet : packets) {
    const Buffer one = pcap_file({packet});
    file.insert(file.end(), one.begin() + 24, one.end());
  }
  const TemporaryFile capture(file);
  const Listener listener;
  auto got = receive(listener);
  const Result result = replay({.path = capture.path()}, listener.port());
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(got.get().size(), 30'000'000U);
}

}  // namespace
}  // namespace serverd::pcap2stream
