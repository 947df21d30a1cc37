#include "common/parcel.h"

#include "common/os/socket.h"

#include <gtest/gtest.h>

#include <vector>

#include <fcntl.h>
#include <sys/socket.h>

namespace serverd {
namespace {

UniqueFd some_socket() { return UniqueFd::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

TEST(Parcel, GivesBackWhatWasPutInWhenItsSenderIsGone) {
  Parcel parcel = make_parcel();
  std::vector<std::uint64_t> cookies;
  for (int i = 0; i < 600; i += 200) {
    std::vector<UniqueFd> sockets;
    std::vector<int> numbers;
    for (int k = 0; k < 200; ++k) {
      sockets.push_back(some_socket());
      numbers.push_back(sockets.back().get());
      cookies.push_back(socket_cookie(numbers.back()));
    }
    ASSERT_EQ(put_into_parcel(parcel.entrance.get(), numbers), 0);
  }
  parcel.entrance.reset();
  const std::vector<UniqueFd> taken = take_out_of_parcel(parcel.held.get());
  ASSERT_EQ(taken.size(), cookies.size());
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(socket_cookie(taken[i].get()), cookies[i]);
    EXPECT_TRUE(::fcntl(taken[i].get(), F_GETFD) & FD_CLOEXEC);
  }
}

TEST(Parcel, ALookInsideTakesNothing) {
  Parcel parcel = make_parcel();
  std::vector<UniqueFd> sockets;
  for (const char* text : {"first", "second"}) {
    sockets.push_back(some_socket());
    const int number = sockets.back().get();
    ASSERT_EQ(put_into_parcel(parcel.entrance.get(), {&number, 1}, text), 0);
  }
  parcel.entrance.reset();
  for (int look = 0; look < 3; ++look) {
    const std::vector<ParcelMessage> seen = look_into_parcel(parcel.held.get());
    ASSERT_EQ(seen.size(), 2U);
    EXPECT_EQ(seen[0].text, "first");
    EXPECT_EQ(seen[1].text, "second");
    ASSERT_EQ(seen[1].descriptors.size(), 1U);
    EXPECT_EQ(socket_cookie(seen[1].descriptors[0].get()), socket_cookie(sockets[1].get()));
    EXPECT_TRUE(::fcntl(seen[1].descriptors[0].get(), F_GETFD) & FD_CLOEXEC);
  }
  EXPECT_EQ(take_out_of_parcel(parcel.held.get()).size(), 2U);
}

TEST(Parcel, IsCompleteWhenEveryEntranceIsClosed) {
  Parcel parcel = make_parcel();
  UniqueFd second = duplicate(parcel.entrance.get());
  parcel.entrance.reset();
  EXPECT_FALSE(parcel_complete(parcel.held.get()));
  second.reset();
  EXPECT_TRUE(parcel_complete(parcel.held.get()));
}

TEST(Parcel, IsFilledByDescriptorsAndNotByItsEnd) {
  Parcel parcel = make_parcel();
  EXPECT_FALSE(parcel_filled(parcel.held.get()));
  const UniqueFd socket = some_socket();
  const int number = socket.get();
  ASSERT_EQ(put_into_parcel(parcel.entrance.get(), {&number, 1}), 0);
  parcel.entrance.reset();
  EXPECT_TRUE(parcel_filled(parcel.held.get()));
  EXPECT_EQ(take_out_of_parcel(parcel.held.get()).size(), 1U);
  EXPECT_FALSE(parcel_filled(parcel.held.get()));
  EXPECT_TRUE(parcel_complete(parcel.held.get()));
}

TEST(Parcel, KeepsTextAndDescriptorsOfAMessageTogether) {
  const Parcel parcel = make_parcel();
  const UniqueFd socket = some_socket();
  const int number = socket.get();
  ASSERT_EQ(put_into_parcel(parcel.entrance.get(), {&number, 1}, "one"), 0);
  ASSERT_EQ(put_into_parcel(parcel.entrance.get(), {&number, 1}, "two"), 0);
  const auto messages = take_messages_out_of_parcel(parcel.held.get());
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[0].text, "one");
  EXPECT_EQ(messages[1].text, "two");
  EXPECT_EQ(messages[1].descriptors.size(), 1U);
}

}  // namespace
}  // namespace serverd
