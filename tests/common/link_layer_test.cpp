#include "common/wire/link_layer.h"

#include "tests/support/packets.h"

#include <gtest/gtest.h>

namespace serverd::wire {
namespace {

using namespace test;
using Kind = LinkPayload::Kind;

const Buffer kPacket = ipv4(Segment{.payload = "hello"});

struct Case {
  const char* name;
  LinkType type;
  Buffer header;
};

const std::vector<Case> kHeaders = {
    {"Ethernet", LinkType::kEthernet, ethernet({})},
    {"EthernetVlan", LinkType::kEthernet, ethernet(join({u16(5), u16(0x0800)}), 0x8100)},
    {"EthernetQinQ", LinkType::kEthernet,
     ethernet(join({u16(5), u16(0x8100), u16(6), u16(0x0800)}), 0x88a8)},
    {"EthernetOldQinQ", LinkType::kEthernet,
     ethernet(join({u16(5), u16(0x8100), u16(6), u16(0x0800)}), 0x9100)},
    {"EthernetIpv6", LinkType::kEthernet, ethernet({}, 0x86dd)},
    {"CookedV1", LinkType::kCookedV1, join({Buffer(14), u16(0x0800)})},
    {"CookedV1Vlan", LinkType::kCookedV1, join({Buffer(14), u16(0x8100), u16(5), u16(0x0800)})},
    {"CookedV2", LinkType::kCookedV2, join({u16(0x0800), Buffer(18)})},
    {"CookedV2Vlan", LinkType::kCookedV2, join({u16(0x8100), Buffer(18), u16(5), u16(0x0800)})},
    {"Raw", LinkType::kRawIp, {}},
    {"NullLittleEndian", LinkType::kLoopback, {2, 0, 0, 0}},
    {"NullBigEndian", LinkType::kLoopback, {0, 0, 0, 2}},
    {"NullIpv6OfDarwin", LinkType::kLoopback, {30, 0, 0, 0}},
};

class EveryLinkLayer : public testing::TestWithParam<Case> {};

TEST_P(EveryLinkLayer, IsStrippedDownToTheIpPacket) {
  const Buffer frame = join({GetParam().header, kPacket});
  const LinkPayload payload = strip_link_layer(GetParam().type, frame);
  ASSERT_EQ(payload.kind, Kind::kIp);
  EXPECT_EQ(Buffer(payload.packet.begin(), payload.packet.end()), kPacket);
}

TEST_P(EveryLinkLayer, IsReportedAsCutAtEveryLengthBelowItsHeader) {
  for (std::size_t size = 0; size < GetParam().header.size(); ++size) {
    const Buffer frame(GetParam().header.begin(),
                       GetParam().header.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(strip_link_layer(GetParam().type, frame).kind, Kind::kCut) << size << " bytes";
  }
}

INSTANTIATE_TEST_SUITE_P(LinkLayer, EveryLinkLayer, testing::ValuesIn(kHeaders),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(LinkLayer, LeavesOtherProtocolsAlone) {
  EXPECT_EQ(strip_link_layer(LinkType::kEthernet, ethernet(Buffer(28), 0x0806)).kind, Kind::kOther);
  EXPECT_EQ(strip_link_layer(LinkType::kCookedV1, join({Buffer(14), u16(0x0806)})).kind,
            Kind::kOther);
  EXPECT_EQ(strip_link_layer(LinkType::kLoopback, Buffer{7, 0, 0, 0, 1}).kind, Kind::kOther);
  EXPECT_EQ(strip_link_layer(LinkType::kRawIp, Buffer{0x10}).kind, Kind::kOther);
}

TEST(LinkLayer, ReportsAnEmptyRawFrameAsCut) {
  EXPECT_EQ(strip_link_layer(LinkType::kRawIp, {}).kind, Kind::kCut);
}

}  // namespace
}  // namespace serverd::wire
