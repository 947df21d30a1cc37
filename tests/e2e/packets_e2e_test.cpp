#include "common/os/error.h"
#include "common/os/socket.h"
#include "tests/e2e/server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

namespace serverd::test {
namespace {

/// A client of the packets service.
class Web final {
 public:
  explicit Web(std::uint16_t port, const std::string& host = "127.0.0.1") : client_(host, port) {}

  void get(const std::string& target, const std::string& fields = "") {
    ask("GET " + target + " HTTP/1.1\r\nHost: test\r\n" + fields + "\r\n");
  }
  void ask(const std::string& bytes) { client_.send(bytes); }

  /// Reads until `text` stands in what came, or nothing more comes.
  bool wait_for(const std::string& text) {
    while (in_.find(text) == std::string::npos)
      if (!read()) return false;
    return true;
  }
  /// The next response, whole; what there is of it if the connection ends.
  std::string response() {
    if (!wait_for("\r\n\r\n")) return std::exchange(in_, {});
    const std::size_t head = in_.find("\r\n\r\n") + 4;
    const std::size_t length = in_.find("Content-Length: ");
    std::size_t size = head;
    if (length < head) size += std::stoul(in_.substr(length + 16));
    while (in_.size() < size && read()) {
    }
    const std::string whole = in_.substr(0, size);
    in_.erase(0, size);
    return whole;
  }
  std::string body() {
    const std::string whole = response();
    return whole.substr(std::min(whole.size(), whole.find("\r\n\r\n") + 4));
  }
  /// The next event of a stream whose head was read; empty at its end.
  std::string event() {
    for (;;) {
      const std::size_t end = events_.find("\n\n");
      if (end != std::string::npos) {
        const std::string text = events_.substr(0, end);
        events_.erase(0, end + 2);
        if (!text.starts_with(":")) return text;
        continue;
      }
      const std::string data = chunk();
      if (data.empty()) return {};
      events_ += data;
    }
  }
  /// The next chunk of a body; empty at its end.
  std::string chunk() {
    if (!wait_for("\r\n")) return {};
    const std::size_t begin = in_.find("\r\n") + 2;
    const std::size_t size = std::stoul(in_, nullptr, 16);
    while (in_.size() < begin + size + 2)
      if (!read()) return {};
    const std::string data = in_.substr(begin, size);
    in_.erase(0, begin + size + 2);
    return data;
  }
  /// Nothing more comes; true if it ended with a FIN.
  bool at_end() {
    while (read()) {
    }
    return ended_;
  }
  Client& client() { return client_; }

 private:
  bool read() {
    pollfd ready{client_.fd(), POLLIN, 0};
    char buffer[65'536];
    if (::poll(&ready, 1, 20'000) != 1) return false;
    const ssize_t n = ::recv(client_.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
    ended_ = n == 0;
    if (n > 0) in_.append(buffer, static_cast<std::size_t>(n));
    return n > 0;
  }

  Client client_;
  std::string in_;
  std::string events_;
  bool ended_ = false;
};

std::string base64(const std::string& text) {
  static const std::string kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  for (std::size_t i = 0; i < text.size(); i += 3) {
    unsigned bits = 0;
    for (std::size_t j = i; j < i + 3; ++j)
      bits = bits << 8 | (j < text.size() ? static_cast<unsigned char>(text[j]) : 0);
    for (std::size_t j = 0; j < 4; ++j)
      result += i + j > text.size() ? '=' : kDigits[bits >> (18 - 6 * j) & 63];
  }
  return result;
}

/// A UDP socket on `host`, at a port of its own.
class Datagrams final {
 public:
  explicit Datagrams(const std::string& host) {
    const SocketAddress any = SocketAddress::from_host(host, 0).value();
    fd_ =
        UniqueFd::adopt(check_call(::socket(any.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
    check_call(::bind(fd_.get(), any.data(), any.size()), "bind");
    address_ = SocketAddress::local_of(fd_.get());
  }
  void send(const Datagrams& to, const std::string& payload) const {
    ::sendto(fd_.get(), payload.data(), payload.size(), 0, to.address_.data(), to.address_.size());
  }
  std::string port() const { return std::to_string(address_.port()); }

 private:
  UniqueFd fd_;
  SocketAddress address_;
};

/// A network namespace of the test's own, for it and what it starts.
class Network final {
 public:
  Network() : before_(UniqueFd::adopt(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC))) {
    check_call(::unshare(CLONE_NEWNET), "unshare");
    run("ip link set lo up");
  }
  ~Network() { ::setns(before_.get(), CLONE_NEWNET); }
  static void run(const std::string& command) {
    const Finished done = run_program({"sh", "-c", command});
    if (done.code != 0) throw std::runtime_error(command + ": " + done.err);
  }
  /// Sockets that capture, see packet(7).
  static std::size_t captures() {
    std::ifstream file("/proc/self/net/packet");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) - 1;
  }

 private:
  UniqueFd before_;
};

class PacketsPort : public testing::Test {
 protected:
  std::unique_ptr<Web> capture(const std::string& query) const {
    auto web = std::make_unique<Web>(port_);
    web->get("/api/capture?" + query);
    const std::string head = web->response();
    EXPECT_TRUE(head.starts_with("HTTP/1.1 200 OK\r\n")) << query << "\n" << head << web->chunk();
    return web;
  }
  std::string answer(const std::string& query) const {
    Web web(port_);
    web.get("/api/capture?" + query);
    return web.response();
  }

  Network network_;
  Workspace workspace_;
  std::uint16_t port_ = free_ports(1);
  Server server_{workspace_, {"packets", "-port", std::to_string(port_)}};
};

// Each parameter, and many clients

TEST_F(PacketsPort, EachClientGetsExactlyThePacketsItAsksFor) {
  const Datagrams one("127.0.0.1");
  const Datagrams other("127.0.0.1");
  const Datagrams two("127.0.0.2");
  const Datagrams six("::1");
  const Datagrams seven("::1");
  const std::uint16_t tcp_port = free_ports(1);
  const UniqueFd listener = listen_on(SocketAddress::from_host("127.0.0.1", tcp_port).value(), 8);
  Client tcp("127.0.0.1", tcp_port);
  const std::string tcp_source = std::to_string(SocketAddress::local_of(tcp.fd()).port());

  // A: one > other   B: one > two   C: two > one   D: six > seven   E: TCP
  const std::string p1 = one.port();
  const std::string p2 = two.port();
  const std::map<std::string, std::string> expected = {
      {"", "ABCDE"},
      {"p=udp", "ABCD"},
      {"udp=true", "ABCD"},
      {"p=tcp", "E"},
      {"tcp=true", "E"},
      {"tcp=true&udp=true", "ABCDE"},
      {"p=" + p1, "ABC"},
      {"p.src=" + p1, "AB"},
      {"p.dst=" + p1, "C"},
      {"p.src=" + p1 + "&p.dst=" + p2, "B"},
      {"p=" + std::to_string(tcp_port), "E"},
      {"tcp=true&p=" + p1, ""},
      {"p.src=" + tcp_source, "E"},
      {"h=127.0.0.1", "ABCE"},
      {"h=127.0.0.2", "BC"},
      {"h.src=127.0.0.2", "C"},
      {"h.dst=127.0.0.2", "B"},
      {"h.src=127.0.0.1&h.dst=127.0.0.2", "B"},
      {"h=::1", "D"},
      {"h.src=::1&p=udp", "D"},
      {"h.dst=::1&p.dst=" + seven.port(), "D"},
      {"h=::1&p=" + p1, ""},
      {"h=127.0.0.2&p.src=" + p1 + "&udp=true", "B"},
      {"bpf=udp+dst+port+" + p2, "B"},
      {"bpf=ip6", "D"},
      {"h=127.0.0.1&bpf=tcp+or+dst+host+127.0.0.2", "BE"},
      {"p=udp&bpf=not+port+" + p1, "D"},
  };
  std::map<std::string, std::unique_ptr<Web>> clients;
  for (const auto& [query, letters] : expected) clients[query] = capture("i=lo&" + query);

  const auto traffic = [&](const std::string& tag) {
    one.send(other, tag + "A");
    one.send(two, tag + "B");
    two.send(one, tag + "C");
    six.send(seven, tag + "D");
    tcp.send(tag + "E");
    tcp.wait_until_acknowledged();
  };
  traffic("data");
  traffic("done");
  for (const auto& [query, letters] : expected) {
    std::string got;
    std::string end;
    while (end.size() < letters.size()) {
      const std::string event = clients[query]->event();
      ASSERT_NE(event, "") << query << " got " << got << ", then " << end;
      for (const char letter : std::string("ABCDE")) {
        const auto has = [&](const std::string& tag) {
          return event.find("\"payload\":\"" + base64(tag + letter) + "\"") != std::string::npos;
        };
        if (has("data")) got += letter;
        if (has("done")) end += letter;
      }
    }
    EXPECT_EQ(got, letters) << query;
    EXPECT_EQ(end, letters) << query;
  }
}

TEST_F(PacketsPort, AnEventSaysWhatStandsInThePacket) {
  const auto web = capture("i=lo&p=udp&snaplen=60");
  const Datagrams a("127.0.0.1");
  const Datagrams b("127.0.0.1");
  a.send(b, "hello");
  a.send(b, std::string(100, 'x'));
  std::string event = web->event();
  EXPECT_TRUE(event.starts_with("id: 1\nevent: packet\ndata: {\"timestamp\":")) << event;
  EXPECT_NE(event.find(",\"packet_size\":47,\"src_ip\":\"127.0.0.1\",\"dst_ip\":\"127.0.0.1\","
                       "\"proto\":\"udp\",\"tcp\":null,\"udp\":{\"src\":" +
                       a.port() + ",\"dst\":" + b.port() + ",\"length\":13,"),
            std::string::npos)
      << event;
  event = web->event();
  EXPECT_NE(event.find("\"packet_size\":142,"), std::string::npos) << event;
  EXPECT_NE(event.find("\"payload\":\"" + base64(std::string(18, 'x')) + "\""), std::string::npos)
      << event;
}

TEST_F(PacketsPort, CountEndsTheStreamAndTheConnectionGoesOn) {
  const auto web = capture("i=lo&p=udp&count=2");
  const Datagrams a("127.0.0.1");
  for (int i = 0; i < 5; ++i) a.send(a, "x");
  EXPECT_TRUE(web->event().starts_with("id: 1\n"));
  EXPECT_TRUE(web->event().starts_with("id: 2\n"));
  EXPECT_EQ(web->event(), "event: close\ndata: stop capture");
  EXPECT_EQ(web->event(), "");
  web->get("/api/interfaces");
  EXPECT_EQ(web->body(),
            "{\"data\":[{\"Name\":\"lo\",\"IpV4Address\":\"127.0.0.1\",\"IpV6Address\":\"::1\"}]}");
}

TEST_F(PacketsPort, TheOwnPortIsLeftOutUnlessAskedFor) {
  const auto without = capture("i=lo&p=tcp");
  const auto with = capture("i=lo&self=1&p.dst=" + std::to_string(port_) + "&count=1");
  Web(port_).get("/api/interfaces");
  EXPECT_NE(with->event().find("\"dst\":" + std::to_string(port_) + ","), std::string::npos);
  const std::uint16_t other = free_ports(1);
  const UniqueFd listener = listen_on(SocketAddress::from_host("127.0.0.1", other).value(), 1);
  const Client client("127.0.0.1", other);
  const std::string event = without->event();
  EXPECT_NE(event.find("\"dst\":" + std::to_string(other) + ","), std::string::npos) << event;
}

TEST_F(PacketsPort, GivesAFileThatOthersRead) {
  workspace_.write("in", "");
  const Datagrams a("127.0.0.1");
  Program curl({"curl", "-sN", "-o", workspace_ / "out.pcapng", "-D", workspace_ / "head",
                "http://127.0.0.1:" + std::to_string(port_) +
                    "/api/capture?i=lo&p=udp&format=pcapng&count=3"});
  ASSERT_TRUE(eventually([] { return Network::captures() == 1; }));
  ASSERT_TRUE(eventually([&] {
    a.send(a, "hello");
    return !curl.running();
  }));
  EXPECT_EQ(curl.wait(), 0);
  EXPECT_NE(file_content(workspace_ / "head").find("application/x-pcapng"), std::string::npos);
  const Finished tshark = run_program({"tshark", "-r", workspace_ / "out.pcapng", "-T", "fields",
                                       "-e", "udp.dstport", "-e", "data"});
  const std::string line = a.port() + "\t68656c6c6f\n";
  EXPECT_EQ(tshark.out, line + line + line) << tshark.err;
}

TEST_F(PacketsPort, AHundredClientsGetTheirOwnPacketsAndLeaveNothingBehind) {
  const Datagrams source("127.0.0.1");
  std::vector<std::unique_ptr<Datagrams>> targets;
  std::vector<std::unique_ptr<Web>> clients;
  for (int i = 0; i < 100; ++i) {
    targets.push_back(std::make_unique<Datagrams>("127.0.0.1"));
    clients.push_back(capture("i=lo&p.dst=" + targets.back()->port()));
  }
  EXPECT_EQ(Network::captures(), 100U);
  for (int round = 0; round < 20; ++round)
    for (const auto& target : targets) source.send(*target, "x");
  for (int i = 0; i < 100; ++i) {
    const std::string dst = "\"dst\":" + targets[static_cast<std::size_t>(i)]->port() + ",";
    for (int round = 1; round <= 20; ++round) {
      const std::string event = clients[static_cast<std::size_t>(i)]->event();
      EXPECT_TRUE(event.starts_with("id: " + std::to_string(round) + "\n")) << event;
      EXPECT_NE(event.find(dst), std::string::npos) << event;
    }
  }
  for (int i = 0; i < 100; i += 2) clients[static_cast<std::size_t>(i)]->client().reset();
  clients.resize(1);  // the rest by FIN
  EXPECT_TRUE(eventually([] { return Network::captures() == 0; }));
}

TEST_F(PacketsPort, OnAnyAndOverIpv6Too) {
  Web web(port_, "::1");
  web.get("/api/capture?i=any&p=udp&count=1");
  EXPECT_TRUE(web.response().starts_with("HTTP/1.1 200 OK\r\n"));
  const Datagrams a("::1");
  a.send(a, "x");
  EXPECT_NE(web.event().find("\"src_ip\":\"::1\""), std::string::npos);
}

// What goes wrong

TEST_F(PacketsPort, SaysWhatIsWrongWithARequest) {
  const auto error = [&](const std::string& query) {
    const std::string got = answer(query);
    EXPECT_TRUE(
        got.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; "
                        "charset=utf-8\r\n"))
        << got;
    return got.substr(got.find("\r\n\r\n") + 4);
  };
  EXPECT_EQ(error(""), "{\"error\":\"interface required\"}");
  EXPECT_EQ(error("i=lo&bpf=tcp+and"),
            "{\"error\":\"can't parse filter expression: syntax error\"}");
  EXPECT_EQ(error("i=nosuch0&bpf=tcp+and"),
            "{\"error\":\"can't parse filter expression: syntax error\"}");
  EXPECT_EQ(error("i=lo&bpf=host+nosuch.example.org"),
            "{\"error\":\"unknown host 'nosuch.example.org'\"}");
  EXPECT_EQ(error("i=lo&bpf=tcp)+or+(udp").find("{\"error\":\""), 0U);
  for (const std::string bad : {"p=99999", "p=-1", "p=x", "h=300.1.1.1", "h.src=x", "count=0",
                                "count=x", "snaplen=0", "format=x", "p.dst=65536"})
    EXPECT_EQ(error("i=lo&" + bad).find("{\"error\":\""), 0U) << bad;
  EXPECT_EQ(Network::captures(), 0U);
}

TEST_F(PacketsPort, AnInterfaceThatIsNotThereIsAnErrorEvent) {
  const auto web = capture("i=nosuch0");
  EXPECT_EQ(web->event(),
            "event: error\ndata: nosuch0: No such device exists (No such device exists)");
  EXPECT_EQ(web->event(), "");
}

TEST_F(PacketsPort, AnInterfaceThatDisappearsIsAnErrorEvent) {
  Network::run(
      "ip link add left0 type veth peer name right0 && ip link set left0 up && "
      "ip link set right0 up");
  const auto web = capture("i=left0");
  const auto other = capture("i=lo&p=udp");
  Network::run("ip link del left0");
  std::string event;
  do event = web->event();
  while (event.find("event: packet\n") != std::string::npos);
  EXPECT_EQ(event, "event: error\ndata: left0: The interface disappeared");
  EXPECT_EQ(web->event(), "");
  const Datagrams a("127.0.0.1");
  a.send(a, "x");
  EXPECT_NE(other->event().find("event: packet\n"), std::string::npos);
  EXPECT_TRUE(eventually([] { return Network::captures() == 1; }));
}

TEST_F(PacketsPort, RefusesWhatIsNotHttp) {
  const auto refusal = [&](const std::string& bytes) {
    Web web(port_);
    web.ask(bytes);
    const std::string got = web.response();
    EXPECT_TRUE(web.at_end()) << bytes;
    return got.substr(0, std::min<std::size_t>(got.size(), 12));
  };
  EXPECT_EQ(refusal("\x16\x03\x01\x02"), "HTTP/1.1 400");
  EXPECT_EQ(refusal("GET / HTTP/1.1\nHost: a\n\n"), "HTTP/1.1 400");
  EXPECT_EQ(refusal("GET / HTTP/3.0\r\nHost: a\r\n\r\n"), "HTTP/1.1 505");
  EXPECT_EQ(refusal("GET /" + std::string(20'000, 'a')), "HTTP/1.1 414");
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nX: " + std::string(20'000, 'a')), "HTTP/1.1 431");
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"),
            "HTTP/1.1 413");
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n0\r\n\r\nGET /api/interfaces HTTP/1.1\r\nHost: a\r\n\r\n"),
            "HTTP/1.1 400");
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
            "HTTP/1.1 501");
}

TEST_F(PacketsPort, AnswersCurlAndOptionsForEveryPage) {
  const std::string url = "http://127.0.0.1:" + std::to_string(port_);
  const Finished options = run_program({"curl", "-si", "-X", "OPTIONS", url + "/anything"});
  EXPECT_TRUE(options.out.starts_with("HTTP/1.1 204 No Content\r\n")) << options.out;
  EXPECT_NE(options.out.find("\r\nAccess-Control-Allow-Origin: *\r\n"), std::string::npos);
  const Finished chunked =
      run_program({"curl", "-si", "-H", "Transfer-Encoding: chunked", "-d", "abc", url + "/x"});
  EXPECT_TRUE(chunked.out.ends_with("\r\n\r\n404 page not found")) << chunked.out;
  const Finished large = run_program({"curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d",
                                      std::string(100'000, 'x'), url + "/x"});
  EXPECT_EQ(large.out, "413");
  const Finished head = run_program({"curl", "-sI", url + "/api/capture?i=lo"});
  EXPECT_NE(head.out.find("Content-Type: text/event-stream\r\n"), std::string::npos) << head.out;
  EXPECT_TRUE(eventually([] { return Network::captures() == 0; }));
}

// A configuration file

class PacketsConfigured : public testing::Test {
 protected:
  void start(const std::string& keys, const std::string& user = "") {
    workspace_.write("p.toml", "[daemon]\nname = \"p\"\nuser = \"" + user +
                                   "\"\n[[service]]\nname = \"packets\"\nprotocol = "
                                   "\"packets\"\nlisten = [\"127.0.0.1:" +
                                   std::to_string(port_) + "\"]\n" + keys);
    server_ = std::make_unique<Server>(workspace_, std::vector<std::string>{"run", "-c", "p.toml"});
  }

  Network network_;
  Workspace workspace_;
  std::uint16_t port_ = free_ports(1);
  std::unique_ptr<Server> server_;
};

TEST_F(PacketsConfigured, ASlowClientLosesPacketsAndNobodyElseDoes) {
  start("queue_kib = 256\nring_kib = 8192\n");
  Web slow(port_);
  Web fast(port_);
  const Datagrams a("127.0.0.1");
  slow.get("/api/capture?i=lo&p=udp");
  fast.get("/api/capture?i=lo&p=udp");
  ASSERT_TRUE(fast.response().starts_with("HTTP/1.1 200"));
  ASSERT_TRUE(eventually([] { return Network::captures() == 2; }));
  const std::string payload(1000, 'x');
  constexpr int kPackets = 8'000;  // 11 MB of events: more than sockets and queue hold
  for (int i = 1; i <= kPackets; ++i) {
    if (i % 100 == 1)
      for (int burst = 0; burst < 100; ++burst) a.send(a, payload);
    const std::string event = fast.event();
    ASSERT_TRUE(event.starts_with("id: " + std::to_string(i) + "\nevent: packet\n")) << event;
  }
  ASSERT_TRUE(slow.response().starts_with("HTTP/1.1 200"));
  std::string event;
  int packets = -1;
  do {
    event = slow.event();
    ++packets;
  } while (event.find("event: packet\n") != std::string::npos);
  EXPECT_TRUE(event.starts_with("event: drops\ndata: {\"kernel\":0,\"queue\":")) << event;
  const auto number = event.find("\"queue\":") + 8;
  EXPECT_EQ(packets + std::stoi(event.substr(number)), kPackets);
}

TEST_F(PacketsConfigured, ASlowRequestIsEndedAndKeepsNobodyWaiting) {
  start("request_timeout = \"300ms\"\nidle_timeout = \"500ms\"\n");
  std::vector<std::unique_ptr<Web>> slow;
  for (int i = 0; i < 50; ++i) {
    slow.push_back(std::make_unique<Web>(port_));
    slow.back()->ask("GET /api/interfaces HTTP/1.1\r\nHost: ");
  }
  Web quick(port_);
  quick.get("/api/interfaces");
  EXPECT_TRUE(quick.response().starts_with("HTTP/1.1 200"));
  for (const auto& web : slow) {
    EXPECT_TRUE(web->response().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    EXPECT_TRUE(web->at_end());
  }
  EXPECT_TRUE(quick.at_end()) << "idle";
}

TEST_F(PacketsConfigured, OnlyPagesOfTheOriginsMayRead) {
  start("cors_origins = [\"https://a.example\"]\n");
  const auto asked_from = [&](const std::string& origin) {
    Web web(port_);
    web.get("/api/interfaces", "Origin: " + origin + "\r\n");
    return web.response();
  };
  EXPECT_NE(asked_from("https://a.example")
                .find("\r\nAccess-Control-Allow-Origin: https://a.example\r\n"),
            std::string::npos);
  EXPECT_EQ(asked_from("https://b.example").find("Access-Control"), std::string::npos);
}

TEST_F(PacketsConfigured, NoMoreCapturesThanAllowed) {
  start("max_captures = 1\n");
  Web first(port_);
  first.get("/api/capture?i=lo");
  EXPECT_TRUE(first.response().starts_with("HTTP/1.1 200"));
  Web second(port_);
  second.get("/api/capture?i=lo");
  EXPECT_TRUE(second.response().starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  first.client().close();
  EXPECT_TRUE(eventually([&] {
    second.get("/api/capture?i=lo&count=1&p=udp");
    return second.response().starts_with("HTTP/1.1 200");
  }));
}

TEST_F(PacketsConfigured, AnotherUserHasTheCapabilityToCaptureAndNoOther) {
  start("", "nobody");
  std::ifstream status("/proc/" + std::to_string(server_->worker(port_)) + "/status");
  std::map<std::string, std::string> lines;
  for (std::string name, rest; status >> name && std::getline(status, rest);) lines[name] = rest;
  EXPECT_EQ(lines["Uid:"].find("\t0"), std::string::npos) << lines["Uid:"];
  for (const char* set : {"CapPrm:", "CapEff:"}) EXPECT_EQ(lines[set], "\t0000000000002000") << set;
  Web web(port_);
  web.get("/api/capture?i=lo&p=udp&count=1");
  web.response();
  const Datagrams a("127.0.0.1");
  a.send(a, "x");
  EXPECT_NE(web.event().find("event: packet\n"), std::string::npos);
}

TEST_F(PacketsConfigured, WithoutThePrivilegeTheErrorSaysSoAndTheDaemonStays) {
  const std::string run = workspace_ / "run";
  Network::run("mkdir " + run + " && chown 65534 " + run + " && chmod 755 " +
               workspace_.path().string());
  Program daemon({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
                  "--bounding-set=-all", built("stream-serverd"), "--runtime-dir", run, "packets",
                  "--port", std::to_string(port_)});
  ASSERT_TRUE(daemon.wait_for_err("ports up")) << daemon.err();
  Web web(port_);
  web.get("/api/capture?i=lo");
  EXPECT_TRUE(web.response().starts_with("HTTP/1.1 200"));
  const std::string event = web.event();
  EXPECT_TRUE(event.starts_with("event: error\ndata: lo: ")) << event;
  EXPECT_NE(event.find("permission"), std::string::npos) << event;
  EXPECT_NE(daemon.err().find("captures need root or CAP_NET_RAW"), std::string::npos);
  web.get("/api/interfaces");
  EXPECT_TRUE(web.event().empty());
  EXPECT_TRUE(web.response().starts_with("HTTP/1.1 200"));
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait(), 0);
}

// Deaths of the worker

TEST_F(PacketsPort, StreamsEndWithTheirWorkerAndThePortGoesOn) {
  const auto web = capture("i=lo&p=udp");
  Web queued(port_);
  queued.ask("GET /api/interfaces HTTP/1.1\r\nHo");
  Web silent(port_);
  const Datagrams a("127.0.0.1");
  a.send(a, "x");
  EXPECT_NE(web->event().find("event: packet\n"), std::string::npos);
  ASSERT_TRUE(queued.client().wait_until_acknowledged());
  ::kill(server_.worker(port_), SIGKILL);
  EXPECT_EQ(web->event(), "");
  EXPECT_TRUE(web->at_end()) << "a FIN, not a reset";
  queued.ask("st: a\r\n\r\n");
  EXPECT_TRUE(queued.response().starts_with("HTTP/1.1 200"));
  silent.get("/api/interfaces");
  EXPECT_TRUE(silent.response().starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(eventually([] { return Network::captures() == 0; }));
  EXPECT_NE(capture("i=lo"), nullptr);
}

TEST_F(PacketsPort, NoAnswerIsTornOrRepeatedHoweverOftenTheWorkerDies) {
  const std::string request = "GET /api/interfaces HTTP/1.1\r\nHost: a\r\n\r\n";
  std::string expected;
  int ended = 0;
  for (int deaths = 0; deaths < 30; ++deaths) {
    Web web(port_);
    std::string requests;
    for (int i = 0; i < 40; ++i) requests += request;
    web.ask(requests);
    const pid_t worker = server_.worker(port_);
    if (worker > 0) ::kill(worker, SIGKILL);
    int answers = 0;
    for (; answers < 40; ++answers) {
      const std::string answer = web.response();
      const std::string body = answer.substr(std::min(answer.size(), answer.find("\r\n\r\n")));
      if (expected.empty()) expected = body;
      if (body != expected) {
        EXPECT_TRUE(web.at_end() || answer.empty()) << "not whole, so it is the last: " << answer;
        ++ended;
        break;
      }
    }
    if (answers == 40) {
      web.get("/nowhere");
      EXPECT_TRUE(web.response().starts_with("HTTP/1.1 404"));
    }
    ASSERT_TRUE(eventually([&] {
      const pid_t next = server_.worker(port_);
      return next > 0 && next != worker;
    }));
  }
  EXPECT_LT(ended, 30) << "most were only queued";
}

}  // namespace
}  // namespace serverd::test
