// The daemon under a service manager: inherited sockets, and what it reports.
#include "common/os/error.h"
#include "common/os/socket.h"
#include "tests/e2e/fake_manager.h"
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd::test {
namespace {

UniqueFd any_listener(const std::string& host = "127.0.0.1") {
  return listen_on(SocketAddress::from_host(host, 0).value(), 16);
}

std::uint16_t port_of(int fd) { return SocketAddress::local_of(fd).port(); }

std::string capture(const std::string& listen) {
  return "[daemon]\nuser = \"\"\n[[service]]\nname = \"capture\"\nprotocol = \"stream\"\n"
         "output = \"output\"\nlisten = [" +
         listen + "]\n";
}

std::string quoted(const std::string& host, std::uint16_t port) {
  return "\"" + host + ":" + std::to_string(port) + "\"";
}

UniqueFd bound(int type, bool listening) {
  UniqueFd fd = UniqueFd::adopt(check_call(::socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket"));
  const SocketAddress any = SocketAddress::from_host("127.0.0.1", 0).value();
  check_call(::bind(fd.get(), any.data(), any.size()), "bind");
  if (listening) check_call(::listen(fd.get(), 1), "listen");
  return fd;
}

/// [::] for both families, as systemd and systemd-socket-activate make it for a port alone.
UniqueFd both_families() {
  UniqueFd fd =
      UniqueFd::adopt(check_call(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  const int off = 0;
  check_call(::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off), "IPV6_V6ONLY");
  const SocketAddress any = SocketAddress::from_host("::", 0).value();
  check_call(::bind(fd.get(), any.data(), any.size()), "bind");
  check_call(::listen(fd.get(), 16), "listen");
  return fd;
}

bool stores(const Workspace& workspace, const std::string& bytes) {
  return eventually([&] {
    const std::string file = only_file(workspace.path() / "output", "stream_");
    return !file.empty() && file_content(file) == bytes;
  });
}

TEST(Activation, ASocketOfAConfiguredAddressIsUsed) {
  Workspace workspace;
  FakeManager manager(workspace);
  UniqueFd socket = any_listener();
  const std::uint16_t port = port_of(socket.get());
  const Client early("127.0.0.1", port);  // waits in the backlog before there is a daemon
  early.send("early");
  manager.activate("any.socket", std::move(socket));
  workspace.write("c.toml", capture(quoted("127.0.0.1", port)));
  const auto server = manager.start_up({"-c", "c.toml"});
  EXPECT_TRUE(stores(workspace, "early")) << server->err();
  server->signal(SIGINT);
  EXPECT_EQ(server->wait().value_or(-1), 0);
}

TEST(Activation, TheQuickFormUsesASocketOfItsAddress) {
  Workspace workspace;
  FakeManager manager(workspace);
  UniqueFd socket = any_listener("::1");
  const std::uint16_t port = port_of(socket.get());
  manager.activate("", std::move(socket));
  const auto server = manager.start_up({"stream", "::1", std::to_string(port), "1"});
  Client client("::1", port);
  client.send("quick");
  EXPECT_TRUE(stores(workspace, "quick")) << server->err();
}

TEST(Activation, OneSocketForBothFamiliesIsBoth) {
  Workspace workspace;
  FakeManager manager(workspace);
  UniqueFd socket = both_families();
  const std::uint16_t port = port_of(socket.get());
  manager.activate("both", std::move(socket));
  workspace.write("c.toml", capture(quoted("*", port)));
  const auto server = manager.start_up({"-c", "c.toml"});
  Client four("127.0.0.1", port);
  four.send("4");
  EXPECT_TRUE(stores(workspace, "4")) << server->err();
  Client six("::1", port);
  six.send("6");
  EXPECT_TRUE(stores(workspace, "46")) << server->err();
}

TEST(Activation, ManySocketsOfManyPortsAreTakenByNameAndByAddress) {
  Workspace workspace;
  FakeManager manager(workspace);
  std::string addresses = "\"systemd:web\"";
  std::vector<std::uint16_t> ports;
  for (int i = 0; i < 40; ++i) {
    UniqueFd socket = any_listener(i % 2 == 0 ? "127.0.0.1" : "::1");
    ports.push_back(port_of(socket.get()));
    if (i >= 20) addresses += ", " + quoted(i % 2 == 0 ? "127.0.0.1" : "[::1]", ports.back());
    manager.activate(i < 20 ? "web" : "other", std::move(socket));
  }
  workspace.write("c.toml", capture(addresses));
  const auto server = manager.start_up({"-c", "c.toml"});
  EXPECT_NE(server->err().find("40 of 40 ports up"), std::string::npos) << server->err();
  EXPECT_EQ(server->err().find("not used"), std::string::npos) << server->err();
  for (std::size_t i = 0; i < ports.size(); ++i)
    EXPECT_NO_THROW(Client(i % 2 == 0 ? "127.0.0.1" : "::1", ports[i]));
}

/// What a start with this socket under the name "web" says and how it exits; the service is to
/// serve "systemd:web".
Finished start_with(UniqueFd fd, const std::string& name = "web") {
  Workspace workspace;
  FakeManager manager(workspace);
  manager.activate(name, std::move(fd));
  workspace.write("c.toml", capture("\"systemd:web\""));
  const auto server = manager.start({"-c", "c.toml"});
  const int code = server->wait().value_or(-1);
  return {code, server->out(), server->err()};
}

TEST(Activation, AWrongKindOfSocketIsNamedWithDescriptorNameAndAddress) {
  UniqueFd datagram = bound(SOCK_DGRAM, false);
  const std::string address = "127.0.0.1:" + std::to_string(port_of(datagram.get()));
  Finished finished = start_with(std::move(datagram));
  EXPECT_EQ(finished.code, 69);
  EXPECT_NE(finished.err.find("service capture: inherited descriptor 3 (web, " + address +
                              ") is a datagram socket; a listening TCP socket is due"),
            std::string::npos)
      << finished.err;

  finished = start_with(bound(SOCK_STREAM, false));
  EXPECT_EQ(finished.code, 69);
  EXPECT_NE(finished.err.find(") is a TCP socket that does not listen;"), std::string::npos)
      << finished.err;

  finished = start_with(UniqueFd::adopt(::dup(STDERR_FILENO)));
  EXPECT_EQ(finished.code, 69);
  EXPECT_NE(finished.err.find("descriptor 3 (web) is no socket;"), std::string::npos)
      << finished.err;

  const UniqueFd listener = any_listener();
  Client client("127.0.0.1", port_of(listener.get()));
  finished = start_with(UniqueFd::adopt(::accept(listener.get(), nullptr, nullptr)));
  EXPECT_EQ(finished.code, 69);
  EXPECT_NE(finished.err.find(") is a connection from 127.0.0.1:"), std::string::npos)
      << finished.err;
  EXPECT_NE(finished.err.find("(Accept=yes in the socket unit?)"), std::string::npos);
}

TEST(Activation, AMissingNameIsSaidWithWhatThereIs) {
  UniqueFd socket = any_listener();
  const std::string address = "127.0.0.1:" + std::to_string(port_of(socket.get()));
  const Finished finished = start_with(std::move(socket), "wbe");
  EXPECT_EQ(finished.code, 69);
  EXPECT_NE(finished.err.find("no socket named 'web' was inherited (LISTEN_FDNAMES); there is "
                              "descriptor 3 (wbe, " +
                              address + ")"),
            std::string::npos)
      << finished.err;
}

TEST(Activation, WhatNobodyUsesIsSaidAndDoesNoHarm) {
  Workspace workspace;
  FakeManager manager(workspace);
  UniqueFd web = any_listener();
  manager.activate("web", duplicate(web.get()));
  manager.activate("twice", std::move(web));
  manager.activate("extra", any_listener());
  manager.activate("datagram", bound(SOCK_DGRAM, false));
  workspace.write("c.toml", capture("\"systemd:web\""));
  const auto server = manager.start_up({"-c", "c.toml"});
  const std::string err = server->err();
  EXPECT_NE(err.find("Inherited descriptor 4 (twice, 127.0.0.1:"), std::string::npos) << err;
  EXPECT_NE(err.find("is the same socket as descriptor 3; closed"), std::string::npos) << err;
  EXPECT_NE(err.find("Inherited descriptor 5 (extra, 127.0.0.1:"), std::string::npos) << err;
  EXPECT_NE(err.find("is not used by any service"), std::string::npos) << err;
  EXPECT_NE(err.find("Inherited descriptor 6 (datagram, 127.0.0.1:"), std::string::npos) << err;
  EXPECT_NE(err.find("is a datagram socket; closed"), std::string::npos) << err;
}

TEST(Activation, AnAddressThatAnInheritedSocketBlocksSaysWhich) {
  Workspace workspace;
  FakeManager manager(workspace);
  UniqueFd socket = any_listener("0.0.0.0");
  const std::uint16_t port = port_of(socket.get());
  manager.activate("web", std::move(socket));
  const auto server = manager.start({"stream", "127.0.0.1", std::to_string(port), "1"});
  EXPECT_EQ(server->wait().value_or(-1), 69);
  EXPECT_NE(server->err().find("Address already in use; inherited was descriptor 3 (web, 0.0.0.0:"),
            std::string::npos)
      << server->err();
}

TEST(Activation, MalformedVariablesAreNamedAndExit78) {
  Workspace workspace;
  workspace.write("c.toml", capture("\"systemd:web\""));
  struct Case {
    const char* fds;
    const char* names;
    const char* said;
  };
  for (const Case& item :
       {Case{"abc", "web", "LISTEN_FDS=abc: not a number of descriptors"},
        Case{"2000000000", "web", "LISTEN_FDS=2000000000: descriptor 4 () is not open"},
        Case{"99999999999", "web", "LISTEN_FDS=99999999999: not a number of descriptors"},
        Case{"2", "web:gone", "LISTEN_FDS=2: descriptor 4 (gone) is not open"},
        Case{"1", "web:more", "LISTEN_FDNAMES=web:more: not as many names as LISTEN_FDS=1"}}) {
    FakeManager manager(workspace);
    manager.activate("web", any_listener());
    const auto server = manager.start(
        {"-c", "c.toml"},
        {std::string("LISTEN_FDS=") + item.fds, std::string("LISTEN_FDNAMES=") + item.names});
    EXPECT_EQ(server->wait().value_or(-1), 78) << item.fds;
    EXPECT_NE(server->err().find(item.said), std::string::npos) << server->err();
    std::filesystem::remove(workspace.path() / "notify");
  }
}

TEST(Activation, SocketsForAnotherProcessAreLeftAloneAndSaid) {
  Workspace workspace;
  FakeManager manager(workspace);
  UniqueFd socket = any_listener();
  const std::uint16_t port = free_ports(1);
  manager.activate("web", std::move(socket));
  const auto server =
      manager.start_up({"stream", "127.0.0.1", std::to_string(port), "1"}, {"LISTEN_PID=1"});
  EXPECT_NE(server->err().find("LISTEN_PID=1 is not this process"), std::string::npos)
      << server->err();
}

TEST(Notify, AReloadIsBegunAndEnded) {
  Workspace workspace;
  FakeManager manager(workspace);
  workspace.write("c.toml", capture(quoted("127.0.0.1", free_ports(1))));
  const auto server = manager.start_up({"-c", "c.toml"});
  ASSERT_TRUE(manager.wait_for("READY=1\nSTATUS=1 of 1 ports up\n"));
  const std::size_t before = manager.heard().size();
  server->signal(SIGHUP);
  ASSERT_TRUE(server->wait_for_err("Reloaded"));
  ASSERT_TRUE(
      eventually([&] { return manager.heard().find("READY=1", before) != std::string::npos; }));
  const std::string heard = manager.heard().substr(before);
  const std::size_t reloading = heard.find("RELOADING=1\nMONOTONIC_USEC=");
  ASSERT_NE(reloading, std::string::npos) << heard;
  EXPECT_LT(reloading, heard.find("READY=1"));
  const std::uint64_t told = std::stoull(heard.substr(reloading + 27));
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto now_us = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
                      static_cast<std::uint64_t>(now.tv_nsec) / 1000;
  EXPECT_LE(told, now_us);
  EXPECT_GT(told + 60'000'000, now_us);
}

TEST(Notify, AReloadThatIsRefusedEndsTooAndTheCommandFails) {
  Workspace workspace;
  FakeManager manager(workspace);
  const std::uint16_t port = free_ports(1);
  workspace.write("c.toml", capture(quoted("127.0.0.1", port)));
  const auto server = manager.start_up({"-c", "c.toml"});
  ASSERT_TRUE(manager.wait_for("READY=1"));
  const std::size_t before = manager.heard().size();
  workspace.write("c.toml", "[[service]]\nname = 5\n");
  const Finished reload =
      run_program({built("stream-serverd"), "--runtime-dir", workspace / "run", "reload"});
  EXPECT_EQ(reload.code, 78);
  EXPECT_NE(reload.err.find("c.toml:2:8: service.name: "), std::string::npos) << reload.err;
  EXPECT_NE(reload.err.find("Reload refused"), std::string::npos) << reload.err;
  ASSERT_TRUE(eventually([&] {
    const std::string heard = manager.heard().substr(before);
    const std::size_t reloading = heard.find("RELOADING=1");
    return reloading != std::string::npos && heard.find("READY=1", reloading) != std::string::npos;
  })) << manager.heard();
}

TEST(Notify, AStopTellsHowLongItMayTake) {
  Workspace workspace;
  FakeManager manager(workspace);
  const auto server = manager.start_up({"stream", "127.0.0.1", std::to_string(free_ports(1)), "1"});
  server->signal(SIGQUIT);
  EXPECT_EQ(server->wait().value_or(-1), 0);
  // drain_timeout 30 s, three times stop_timeout 5 s, 10 s for keepers and workers' starts
  EXPECT_TRUE(manager.wait_for("STOPPING=1\nEXTEND_TIMEOUT_USEC=55000000\n")) << manager.heard();
}

TEST(Notify, TheWatchdogIsKeptQuietAsOftenAsItAsks) {
  Workspace workspace;
  FakeManager manager(workspace);
  const auto server = manager.start_up({"stream", "127.0.0.1", std::to_string(free_ports(1)), "1"},
                                       {"WATCHDOG_USEC=300000"});
  const auto beats = [&] {
    int count = 0;
    const std::string heard = manager.heard();
    for (auto at = heard.find("WATCHDOG=1"); at != std::string::npos;
         at = heard.find("WATCHDOG=1", at + 1))
      ++count;
    return count;
  };
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(eventually([&] { return beats() >= 10; }));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, Seconds(10) * 3 / 10)
      << "ten in ten intervals at most";
}

TEST(Notify, ANonsensicalWatchdogIsNoneAndATinyOneDoesNotSpin) {
  for (const char* interval : {"0", "abc", "-5", "1"}) {
    Workspace workspace;
    FakeManager manager(workspace);
    const auto server =
        manager.start_up({"stream", "127.0.0.1", std::to_string(free_ports(1)), "1"},
                         {std::string("WATCHDOG_USEC=") + interval});
    server->signal(SIGINT);
    EXPECT_EQ(server->wait().value_or(-1), 0) << interval;
    EXPECT_EQ(manager.heard().find("WATCHDOG=1") != std::string::npos, std::string(interval) == "1")
        << interval;
  }
}

TEST(Notify, AManagerThatDoesNotReadBlocksNothingAndLearnsWhatMattersLater) {
  Workspace workspace;
  FakeManager manager(workspace);
  manager.read(false);
  workspace.write("c.toml", capture(quoted("127.0.0.1", free_ports(1))));
  const auto server = manager.start_up({"-c", "c.toml"});
  for (int i = 1; i <= 400 && server->err().find("does not read") == std::string::npos; ++i) {
    server->signal(SIGHUP);
    ASSERT_TRUE(server->wait_for_err("Reloaded", i));
  }
  ASSERT_TRUE(server->wait_for_err("The service manager does not read")) << server->err();
  const Finished status =
      run_program({built("stream-serverd"), "--runtime-dir", workspace / "run", "status"});
  EXPECT_EQ(status.code, 0) << status.err;
  manager.read(true);
  server->signal(SIGINT);
  EXPECT_EQ(server->wait().value_or(-1), 0);
}

}  // namespace
}  // namespace serverd::test
