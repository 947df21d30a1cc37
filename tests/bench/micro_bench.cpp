// The parts whose cost grows with something, by themselves.

#include "client/pcap2stream/capture_file.h"
#include "common/config.h"
#include "common/ledger.h"
#include "common/loop/loop.h"
#include "common/os/error.h"
#include "common/os/limits.h"
#include "common/os/socket.h"
#include "common/os/unique_fd.h"
#include "common/wire/tsam_command.h"
#include "common/wire/tsam_frame.h"
#include "tests/bench/clients.h"
#include "tests/support/service_rig.h"
#include "worker/recover.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <sys/eventfd.h>
#include <sys/socket.h>

namespace serverd {
namespace {

UniqueFd event_counter() {
  return UniqueFd::adopt(check_call(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
}

/// One turn in which one descriptor of many is ready.
void loop_turn(benchmark::State& state) {
  Loop loop;
  std::vector<UniqueFd> descriptors;
  std::vector<std::unique_ptr<Watch>> watches;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    descriptors.push_back(event_counter());
    watches.push_back(
        std::make_unique<Watch>(loop, descriptors.back().get(), POLLIN, [](short) {}));
  }
  const UniqueFd busy = event_counter();
  const Watch watch(loop, busy.get(), POLLIN, [&](short) {
    eventfd_t value = 0;
    ::eventfd_read(busy.get(), &value);
  });
  for (auto _ : state) {
    ::eventfd_write(busy.get(), 1);
    loop.run_once();
  }
}
BENCHMARK(loop_turn)->ArgName("idle")->Arg(0)->Arg(10)->Arg(100)->Arg(1'000)->Arg(9'000);

void config_parse(benchmark::State& state) {
  std::ifstream file(SOURCE_DIR "/etc/stream-serverd.toml");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (auto _ : state) {
    const auto parsed = parse_config(text, "x.toml", ConfigUse::kDaemon);
    if (!std::holds_alternative<Config>(parsed)) state.SkipWithError("the example is not valid");
  }
}
BENCHMARK(config_parse)->Unit(benchmark::kMicrosecond);

/// What a port costs before its worker is there.
void ledger_create(benchmark::State& state) {
  for (auto _ : state) {
    const UniqueFd memory =
        ledger::create(5000, "stream", static_cast<std::uint32_t>(state.range(0)));
    const ledger::Ledger ledger(memory.get(), Mapping::Access::kReadWrite);
    benchmark::DoNotOptimize(ledger.header().slot_count);
  }
}
BENCHMARK(ledger_create)->ArgName("slots")->Arg(4'096)->Unit(benchmark::kMicrosecond);

/// What a successor looks at first: which slots are free.
void ledger_scan(benchmark::State& state) {
  const UniqueFd memory =
      ledger::create(5000, "stream", static_cast<std::uint32_t>(state.range(0)));
  const ledger::Ledger ledger(memory.get(), Mapping::Access::kReadWrite);
  for (auto _ : state) {
    std::size_t free = 0;
    for (const ledger::Slot& slot : ledger.slots())
      free += slot.state == ledger::SlotState::kFree ? 1 : 0;
    benchmark::DoNotOptimize(free);
  }
}
BENCHMARK(ledger_scan)->ArgName("slots")->Arg(4'096)->Unit(benchmark::kMicrosecond);

/// What a worker does between the keeper's parcel and the first poll.
void recovery(benchmark::State& state) {
  const auto count = static_cast<std::uint32_t>(state.range(0));
  test::ServiceRig rig(false, count);
  const UniqueFd listener = listen_on(*SocketAddress::from_host("127.0.0.1", 0), 4096);
  std::vector<UniqueFd> clients;
  std::vector<UniqueFd> accepted;
  for (std::uint32_t i = 0; i < count; ++i) {
    clients.push_back(
        bench::connect_client(SocketAddress::local_of(listener.get()).port(), 1 + i % 8));
    accepted.push_back(UniqueFd::adopt(
        check_call(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept4")));
    rig.enter(i, accepted.back().get());
  }
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<UniqueFd> connections;
    for (const UniqueFd& fd : accepted) connections.push_back(duplicate(fd.get()));
    state.ResumeTiming();
    const Recovery recovered = recover(rig.ledger, *rig.service, std::move(connections));
    if (recovered.resumed.size() != count) state.SkipWithError("not everything was recovered");
    state.PauseTiming();
    rig.die();
    state.ResumeTiming();
  }
}
BENCHMARK(recovery)->ArgName("slots")->Arg(1)->Arg(100)->Arg(5'000)->Unit(benchmark::kMicrosecond);

void capture_read(benchmark::State& state) {
  std::size_t packets = 0;
  for (auto _ : state) {
    auto capture = pcap2stream::CaptureFile::open(SOURCE_DIR "/tests/data/demo.pcap");
    while (capture.next()) ++packets;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(packets));
}
BENCHMARK(capture_read)->Unit(benchmark::kMicrosecond);

/// Frames as one group's server sends them to another, a SENDMSG of so many bytes each.
std::string chat_frames(std::size_t count, std::size_t content) {
  std::string wire;
  for (std::size_t i = 0; i < count; ++i)
    tsam::encode(wire, tsam::command_text({"SENDMSG", "bob", "A5_1", std::string(content, 'x')}),
                 tsam::Framing::kFrames);
  return wire;
}

void chat_decode(benchmark::State& state) {
  constexpr std::size_t kFrames = 100;
  const std::string wire = chat_frames(kFrames, static_cast<std::size_t>(state.range(0)));
  std::string scratch;
  for (auto _ : state) {
    std::size_t taken = 0;
    tsam::Position position;
    for (std::string_view rest = wire; !rest.empty();) {
      const tsam::Step step = tsam::next_command(rest, position, false, scratch);
      const auto command = tsam::parse_command(step.text, tsam::Origin::kServer);
      taken += command.verb == tsam::Verb::kSendMsg ? 1 : 0;
      rest.remove_prefix(step.consumed);
      position = step.next;
    }
    if (taken != kFrames) state.SkipWithError("not every frame was taken");
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kFrames));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * wire.size()));
}
BENCHMARK(chat_decode)->ArgName("bytes")->Arg(20)->Arg(4'900)->Unit(benchmark::kMicrosecond);

void chat_encode(benchmark::State& state) {
  const std::string command(static_cast<std::size_t>(state.range(0)), 'x');
  std::string wire;
  for (auto _ : state) {
    wire.clear();
    tsam::encode(wire, command, tsam::Framing::kFrames);
    benchmark::DoNotOptimize(wire.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * command.size()));
}
BENCHMARK(chat_encode)->ArgName("bytes")->Arg(20)->Arg(4'900);

}  // namespace
}  // namespace serverd

int main(int argc, char** argv) {
  serverd::raise_descriptor_limit();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 64;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
