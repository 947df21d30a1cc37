#include "common/handoff.h"

#include "common/ledger.h"
#include "common/os/error.h"
#include "common/os/memfd.h"
#include "tests/support/in_child.h"
#include "tests/support/tcp_pair.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd {
namespace {

UniqueFd listener() { return listen_on(test::loopback(), 1); }
UniqueFd config() { return sealed_text("config", "text"); }
UniqueFd some_ledger() { return ledger::create(5000, "stream", 1); }

UniqueFd socket_of(int family, int type) {
  return UniqueFd::adopt(check_call(::socket(family, type | SOCK_CLOEXEC, 0), "socket"));
}

UniqueFd connected(int type) {
  int ends[2];
  check_call(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), "socketpair");
  ::close(ends[1]);
  return UniqueFd::adopt(ends[0]);
}
UniqueFd parcel() { return connected(SOCK_SEQPACKET); }

UniqueFd unsealed_memfd() {
  return UniqueFd::adopt(check_call(::memfd_create("test", MFD_CLOEXEC), "memfd_create"));
}

/// What a worker is given, each kind once.
std::vector<NamedFd> everything() {
  std::vector<NamedFd> given;
  given.push_back({"listen", listener()});
  given.push_back({"config", config()});
  given.push_back({"ledger", some_ledger()});
  given.push_back({"parcel", parcel()});
  given.push_back({"parcel-out", parcel()});
  return given;
}

std::vector<NamedFd> everything_but(const std::string& name) {
  std::vector<NamedFd> given = everything();
  std::erase_if(given, [&](const NamedFd& item) { return item.name == name; });
  return given;
}

/// Everything, with `fd` in the place of what has this name.
std::vector<NamedFd> everything_with(const std::string& name, UniqueFd fd) {
  std::vector<NamedFd> given = everything_but(name);
  given.push_back({name, std::move(fd)});
  return given;
}

/// Why a worker does not take these; "taken". Descriptor numbers are written as N.
std::string refusal(std::vector<NamedFd> given) {
  try {
    Handoff::from_supervisor(std::move(given));
    return "taken";
  } catch (const HandoffError& error) {
    std::string text = error.what();
    constexpr std::string_view kPrefix = "descriptor ";
    if (text.starts_with(kPrefix) && std::isdigit(text[kPrefix.size()]) != 0) {
      const std::size_t end = text.find_first_not_of("0123456789", kPrefix.size());
      text.replace(kPrefix.size(), end - kPrefix.size(), "N");
    }
    return text;
  }
}

TEST(HandoffFromSupervisor, SortsDescriptorsByName) {
  std::vector<NamedFd> given = everything();
  std::vector<int> numbers;
  for (const NamedFd& item : given) numbers.push_back(item.fd.get());
  const Handoff handoff = Handoff::from_supervisor(std::move(given));
  ASSERT_EQ(handoff.listeners.size(), 1U);
  EXPECT_EQ(handoff.listeners.front().get(), numbers[0]);
  EXPECT_EQ(handoff.config.get(), numbers[1]);
  EXPECT_EQ(handoff.ledger.get(), numbers[2]);
  ASSERT_EQ(handoff.parcels.size(), 1U);
  EXPECT_EQ(handoff.parcels.front().get(), numbers[3]);
  EXPECT_EQ(handoff.parcel_out.get(), numbers[4]);
}

TEST(HandoffFromSupervisor, TakesThemInAnyOrder) {
  std::vector<NamedFd> given = everything();
  std::reverse(given.begin(), given.end());
  EXPECT_EQ(refusal(std::move(given)), "taken");
}

TEST(HandoffFromSupervisor, MakesListenersNonBlocking) {
  std::vector<NamedFd> given = everything();
  ASSERT_EQ(::fcntl(given.front().fd.get(), F_SETFL, 0), 0);
  const Handoff handoff = Handoff::from_supervisor(std::move(given));
  EXPECT_TRUE((::fcntl(handoff.listeners.front().get(), F_GETFL) & O_NONBLOCK) != 0);
}

TEST(HandoffFromSupervisor, TakesSeveralListenersOfOnePort) {
  std::vector<NamedFd> given = everything();
  const std::uint16_t port = SocketAddress::local_of(given.front().fd.get()).port();
  given.push_back({"listen", listen_on(SocketAddress::from_host("::1", port).value(), 1)});
  EXPECT_EQ(Handoff::from_supervisor(std::move(given)).listeners.size(), 2U);
}

TEST(HandoffFromSupervisor, RefusesTwoPorts) {
  std::vector<NamedFd> given = everything();
  given.push_back({"listen", listener()});
  const std::string first = std::to_string(SocketAddress::local_of(given[0].fd.get()).port());
  const std::string second = std::to_string(SocketAddress::local_of(given.back().fd.get()).port());
  EXPECT_EQ(refusal(std::move(given)),
            "a worker serves one port, but was given ports " + first + " and " + second);
}

TEST(HandoffFromSupervisor, TakesAnyNumberOfParcels) {
  EXPECT_EQ(Handoff::from_supervisor(everything_but("parcel")).parcels.size(), 0U);
  std::vector<NamedFd> given = everything();
  given.push_back({"parcel", parcel()});
  EXPECT_EQ(Handoff::from_supervisor(std::move(given)).parcels.size(), 2U);
}

TEST(HandoffFromSupervisor, NamesWhatIsMissing) {
  EXPECT_EQ(refusal(everything_but("config")), "descriptor 'config' is missing");
  EXPECT_EQ(refusal(everything_but("ledger")), "descriptor 'ledger' is missing");
  EXPECT_EQ(refusal(everything_but("parcel-out")), "descriptor 'parcel-out' is missing");
  std::vector<NamedFd> given = everything_but("listen");
  std::erase_if(given, [](const NamedFd& item) { return item.name == "parcel"; });
  const std::string said = refusal(std::move(given));
  EXPECT_TRUE(said.starts_with("no listening socket was handed over")) << said;
}

TEST(HandoffFromSupervisor, NeedsNoListenerToFinishWhatIsParked) {
  const Handoff handoff = Handoff::from_supervisor(everything_but("listen"));
  EXPECT_TRUE(handoff.listeners.empty());
  EXPECT_EQ(handoff.parcels.size(), 1U);
}

TEST(HandoffFromSupervisor, RefusesUnknownNames) {
  for (const char* name : {"", "unknown", "Listen", "listen ", "parcel-in"}) {
    std::vector<NamedFd> given = everything();
    given.push_back({name, listener()});
    EXPECT_EQ(refusal(std::move(given)), "descriptor N: unknown name '" + std::string(name) + "'");
  }
}

TEST(HandoffFromSupervisor, RefusesWhatIsGivenTwice) {
  std::vector<NamedFd> configs = everything();
  configs.push_back({"config", config()});
  EXPECT_EQ(refusal(std::move(configs)), "descriptor N: 'config' given twice");
  std::vector<NamedFd> ledgers = everything();
  ledgers.push_back({"ledger", some_ledger()});
  EXPECT_EQ(refusal(std::move(ledgers)), "descriptor N: 'ledger' given twice");
  std::vector<NamedFd> outs = everything();
  outs.push_back({"parcel-out", parcel()});
  EXPECT_EQ(refusal(std::move(outs)), "descriptor N: 'parcel-out' given twice");
}

TEST(HandoffFromSupervisor, RefusesWhatIsNoListener) {
  const std::string said = "descriptor N (listen): not a listening TCP socket";
  EXPECT_EQ(refusal(everything_with("listen", socket_of(AF_INET, SOCK_STREAM))), said);
  EXPECT_EQ(refusal(everything_with("listen", socket_of(AF_INET, SOCK_DGRAM))), said);
  EXPECT_EQ(refusal(everything_with("listen", socket_of(AF_UNIX, SOCK_STREAM))), said);
  EXPECT_EQ(refusal(everything_with("listen", test::tcp_pair().server)), said);
  EXPECT_EQ(refusal(everything_with("listen", config())), said);
}

TEST(HandoffFromSupervisor, RefusesMemoryThatCouldStillChange) {
  const std::string no_config = "descriptor N (config): not a sealed memfd";
  EXPECT_EQ(refusal(everything_with("config", unsealed_memfd())), no_config);
  EXPECT_EQ(refusal(everything_with("config", sealed_memory("test", 10))), no_config);
  EXPECT_EQ(refusal(everything_with("config", listener())), no_config);
  const std::string no_ledger = "descriptor N (ledger): not a memfd sealed in size";
  EXPECT_EQ(refusal(everything_with("ledger", unsealed_memfd())), no_ledger);
  EXPECT_EQ(refusal(everything_with("ledger", listener())), no_ledger);
}

TEST(HandoffFromSupervisor, RefusesWhatIsNoParcel) {
  for (const char* name : {"parcel", "parcel-out"}) {
    const std::string said =
        "descriptor N (" + std::string(name) + "): not a connected UNIX socket";
    EXPECT_EQ(refusal(everything_with(name, connected(SOCK_STREAM))), said);
    EXPECT_EQ(refusal(everything_with(name, listener())), said);
    EXPECT_EQ(refusal(everything_with(name, config())), said);
  }
}

TEST(HandoffFromActivation, TakesListenersOfAnyName) {
  std::vector<NamedFd> given;
  given.push_back({"whatever.socket", listener()});
  const Handoff handoff = Handoff::from_activation(std::move(given));
  EXPECT_EQ(handoff.listeners.size(), 1U);
  EXPECT_FALSE(handoff.config);
  EXPECT_FALSE(handoff.ledger);
}

TEST(HandoffFromActivation, RefusesEverythingElse) {
  std::vector<NamedFd> given;
  given.push_back({"config", config()});
  EXPECT_THROW(Handoff::from_activation(std::move(given)), HandoffError);
  EXPECT_THROW(Handoff::from_activation({}), HandoffError);
}

/// In a process whose descriptors from 3 on are `count` copies of /dev/null and which has these
/// variables (LISTEN_PID: "us" for its own), what receive_descriptors gives: "3=name 4=name", and
/// what is wrong with them or with what it leaves behind.
std::string received(int count, const std::string& pid, const char* fds, const char* names) {
  return test::in_child([&] {
    for (int fd = 3; fd < 20; ++fd) ::close(fd);
    for (int i = 0; i < count; ++i) ::open("/dev/null", O_RDONLY);  // gives 3, 4, …
    ::setenv("LISTEN_PID", pid == "us" ? std::to_string(::getpid()).c_str() : pid.c_str(), 1);
    ::unsetenv("LISTEN_FDS");
    ::unsetenv("LISTEN_FDNAMES");
    if (fds != nullptr) ::setenv("LISTEN_FDS", fds, 1);
    if (names != nullptr) ::setenv("LISTEN_FDNAMES", names, 1);
    std::string text;
    try {
      for (const NamedFd& item : receive_descriptors()) {
        text += (text.empty() ? "" : " ") + std::to_string(item.fd.get()) + "=" + item.name;
        if (::fcntl(item.fd.get(), F_GETFD) != FD_CLOEXEC) text += "(no CLOEXEC)";
      }
    } catch (const HandoffError&) {
      return std::string("refused");
    }
    for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
      if (std::getenv(name) != nullptr) text += std::string(" ") + name + " is left";
    return text.empty() ? "nothing" : text;
  });
}

TEST(ReceiveDescriptors, TakesWhatIsAnnouncedWithItsNames) {
  EXPECT_EQ(received(3, "us", "3", "listen:config:ledger"), "3=listen 4=config 5=ledger");
}

TEST(ReceiveDescriptors, TakesNoMoreThanIsAnnounced) {
  EXPECT_EQ(received(3, "us", "1", "listen"), "3=listen");
}

TEST(ReceiveDescriptors, WithoutNamesTheyAreUnknown) {
  EXPECT_EQ(received(2, "us", "2", nullptr), "3=unknown 4=unknown");
}

TEST(ReceiveDescriptors, EmptyNamesStayEmpty) { EXPECT_EQ(received(2, "us", "2", ":x"), "3= 4=x"); }

TEST(ReceiveDescriptors, WhatIsMeantForAnotherProcessIsLeftAlone) {
  EXPECT_EQ(received(1, "1", "1", "listen"), "nothing");
  EXPECT_EQ(received(1, "us", nullptr, nullptr), "nothing");
}

TEST(ReceiveDescriptors, NonsenseIsRefused) {
  for (const char* number :
       {"", "x", "-1", "0", "1x", "4294967297", "99999999999999999999", "2147483647"})
    EXPECT_EQ(received(1, "us", number, nullptr), "refused") << number;
  for (const char* pid : {"x", "", "-1", "99999999999999999999"})
    EXPECT_EQ(received(1, pid, "1", nullptr), "refused") << pid;
}

TEST(ReceiveDescriptors, DescriptorsThatAreNotOpenAreRefused) {
  EXPECT_EQ(received(1, "us", "2", "a:b"), "refused");
  EXPECT_EQ(received(0, "us", "1", "a"), "refused");
}

TEST(ReceiveDescriptors, AnotherNumberOfNamesIsRefused) {
  EXPECT_EQ(received(2, "us", "2", "one"), "refused");
  EXPECT_EQ(received(2, "us", "2", "one:two:three"), "refused");
}

}  // namespace
}  // namespace serverd
