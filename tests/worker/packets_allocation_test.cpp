// By itself, since it counts every allocation of its process.

#include "tests/support/packets.h"
#include "worker/packets/event_writer.h"
#include "worker/packets/pcapng.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <vector>

namespace {
std::size_t allocations = 0;
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace serverd::packets {
namespace {

using namespace test;

TEST(Allocations, AreCounted) {
  const std::size_t before = allocations;
  const auto number = std::make_unique<int>(1);
  EXPECT_EQ(allocations, before + 1) << *number;
}

TEST(Allocations, APacketNeedsNone) {
  const Segment segment{.payload = std::string(1000, 'x'), .options = {2, 4, 5, 0xb4, 1, 1, 0, 9}};
  const std::vector<Buffer> frames = {ethernet(ipv4(segment)), ethernet(ipv6(segment), 0x86dd),
                                      ethernet(ipv4(5, 9, Buffer(30), 0, 17)),
                                      ethernet(Buffer(30), 0x0806)};
  std::vector<char> room(10'000);
  std::size_t written = 0;
  const std::size_t before = allocations;
  for (const Buffer& bytes : frames) {
    const Frame frame{1, 1'700'000'000'000'000'000, 2000, bytes};
    const Decoded decoded = decode(frame);
    written += pcapng::write_packet(room, frame);
    if (decoded.outcome != Outcome::kPacket) continue;
    written += packet_event_bound(decoded.packet);
    written += write_packet_event(room, written, decoded.packet);
  }
  EXPECT_EQ(allocations, before);
  EXPECT_GT(written, 6000U);
}

}  // namespace
}  // namespace serverd::packets
