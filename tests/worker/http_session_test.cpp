#include "tests/support/http_rig.h"

#include <gtest/gtest.h>

#include <string>

namespace serverd::http {
namespace {

using ledger::Cause;
using test::HttpRig;

/// A stream that a test drives.
struct Tap {
  StreamOutput* output = nullptr;  ///< null: it was not started, or has been destroyed
  int streams = 0;
  bool finish_at_once = false;

  void say(std::string_view text) const {
    output->open().append(text);
    output->flush();
  }
};

class TapStream final : public Stream {
 public:
  explicit TapStream(Tap& tap) : tap_(tap) { ++tap_.streams; }
  ~TapStream() override {
    tap_.output = nullptr;
    --tap_.streams;
  }
  void start(StreamOutput& output) override {
    tap_.output = &output;
    if (tap_.finish_at_once) output.finish();
  }

 private:
  Tap& tap_;
};

class HttpSessionTest : public testing::Test {
 protected:
  HttpSessionTest() {
    rig_.site.routes.get("/hello", [](const Request& request) {
      return Response{200, kJson, "hi " + std::string(request.query)};
    });
    rig_.site.routes.get("/large", [](const Request&) {
      return Response{200, "text/plain", std::string(200'000, 'x')};
    });
    rig_.site.routes.get("/broken",
                         [](const Request&) -> Answer { throw std::runtime_error("no \"luck\""); });
    rig_.site.routes.get("/tap", [this](const Request&) -> Answer {
      return StreamedResponse{
          "text/event-stream", {{"Cache-Control", "no-cache"}}, std::make_unique<TapStream>(tap_)};
    });
  }

  static std::string request(std::string_view target, std::string_view fields = "",
                             std::string_view method = "GET") {
    return std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: h\r\n" +
           std::string(fields) + "\r\n";
  }
  static std::string ok(std::string_view body, std::string_view connection = "keep-alive") {
    return "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: " +
           std::to_string(body.size()) +
           "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: " + std::string(connection) +
           "\r\n\r\n" + std::string(body);
  }
  static std::string tap_head(std::string_view connection = "keep-alive") {
    return "HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: text/event-stream\r\n"
           "Transfer-Encoding: chunked\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: " +
           std::string(connection) + "\r\n\r\n";
  }

  Tap tap_;  // outlives the session's stream
  HttpRig rig_;
};

TEST_F(HttpSessionTest, AnswersPipelinedRequestsInOrderAndKeepsTheConnection) {
  EXPECT_EQ(rig_.ask(request("/hello?1") + request("/hello?2") + "GET /he"),
            ok("hi 1") + ok("hi 2"));
  EXPECT_EQ(rig_.waiting, "GET /he") << "what is not whole stays in the socket";
  EXPECT_EQ(rig_.ask("llo HTTP/1.1\r\nHost: h\r\n\r\n"), ok("hi "));
  EXPECT_FALSE(rig_.closed);
}

TEST_F(HttpSessionTest, SaysWhatIsNotServed) {
  const auto starts = [&](const std::string& text, std::string_view status, std::string_view body) {
    const std::string got = rig_.ask(text);
    EXPECT_TRUE(got.starts_with("HTTP/1.1 " + std::string(status) + "\r\n")) << got;
    EXPECT_TRUE(got.ends_with("\r\n\r\n" + std::string(body))) << got;
    return got;
  };
  starts(request("/nowhere"), "404 Not Found", "404 page not found");
  EXPECT_NE(
      starts(request("/hello", "", "POST"), "405 Method Not Allowed", "405 method not allowed")
          .find("\r\nAllow: GET, HEAD, OPTIONS\r\n"),
      std::string::npos);
  starts(request("/hello", "", "BREW"), "501 Not Implemented", "501 method not implemented");
  starts(request("/broken"), "500 Internal Server Error", "{\"error\":\"no \\\"luck\\\"\"}");
  EXPECT_EQ(starts(request("/nowhere", "", "OPTIONS"), "204 No Content", "").find("Content-"),
            std::string::npos);
  starts(request("*", "", "OPTIONS"), "204 No Content", "");
  EXPECT_FALSE(rig_.closed);
  starts("rubbish\r\n\r\n", "400 Bad Request", "400 Bad Request: not a request of HTTP");
  EXPECT_TRUE(rig_.closed) << "nothing after it can be understood";
}

TEST_F(HttpSessionTest, AnswersHeadWithoutBodyOrStream) {
  const std::string got = rig_.ask(request("/hello", "", "HEAD"));
  EXPECT_EQ(got, ok("hi ").substr(0, got.size()));
  EXPECT_TRUE(got.ends_with("\r\n\r\n"));
  EXPECT_EQ(rig_.ask(request("/tap", "", "HEAD")), tap_head());
  EXPECT_EQ(tap_.streams, 0);
  EXPECT_EQ(rig_.ask(request("/hello")), ok("hi "));
}

TEST_F(HttpSessionTest, EndsWhereThePeerOrTheLimitAsksForIt) {
  EXPECT_EQ(rig_.ask(request("/hello", "Connection: close\r\n") + request("/hello")),
            ok("hi ", "close"));
  EXPECT_TRUE(rig_.closed);
  rig_.site.limits.requests = 2;
  rig_.connect();
  EXPECT_EQ(rig_.ask(request("/hello") + request("/hello") + request("/hello")),
            ok("hi ") + ok("hi ", "close"));
  EXPECT_TRUE(rig_.closed);
}

TEST_F(HttpSessionTest, LooksAtNoMoreRequestsWhileAnswersAreNotTaken) {
  rig_.stuck = true;
  rig_.send(request("/large") + request("/hello"));
  EXPECT_TRUE(rig_.crowded);
  EXPECT_EQ(rig_.waiting, request("/hello"));
  rig_.stuck = false;
  rig_.write();
  rig_.show();
  EXPECT_TRUE(rig_.take().ends_with(ok("hi ")));
}

TEST_F(HttpSessionTest, AsksForTheBodyThatWaits) {
  const std::string head =
      request("/hello", "Content-Length: 2\r\nExpect: 100-continue\r\n", "POST");
  EXPECT_EQ(rig_.ask(head), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_TRUE(rig_.ask("ab").starts_with("HTTP/1.1 405 "));
}

// Streams

TEST_F(HttpSessionTest, SendsAStreamInChunksAndGoesOnAfterIt) {
  EXPECT_EQ(rig_.ask(request("/tap")), tap_head());
  tap_.say("one");
  tap_.say("");
  tap_.output->open().append(std::string(300, 'x'));
  tap_.output->open().append("y");
  tap_.output->flush();
  rig_.settle();
  EXPECT_EQ(rig_.take(), "00000003\r\none\r\n0000012d\r\n" + std::string(300, 'x') + "y\r\n");
  tap_.output->finish();
  rig_.settle();
  EXPECT_EQ(rig_.take(), "0\r\n\r\n");
  EXPECT_EQ(tap_.streams, 0);
  EXPECT_EQ(rig_.ask(request("/hello")), ok("hi "));
}

TEST_F(HttpSessionTest, AStreamMayEndBeforeItBegins) {
  tap_.finish_at_once = true;
  EXPECT_EQ(rig_.ask(request("/tap") + "x"), tap_head() + "0\r\n\r\n");
  EXPECT_EQ(tap_.streams, 0);
}

TEST_F(HttpSessionTest, GivesHttp10AStreamWithoutChunks) {
  const std::string got = rig_.ask("GET /tap HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(got.find("chunked"), std::string::npos);
  EXPECT_NE(got.find("Connection: close"), std::string::npos);
  tap_.say("one");
  tap_.output->finish();
  rig_.settle();
  EXPECT_EQ(rig_.take(), "one");
  EXPECT_TRUE(rig_.closed);
}

TEST_F(HttpSessionTest, TheStreamEndsWithItsPeer) {
  rig_.ask(request("/tap"));
  rig_.session->on_eof();
  EXPECT_EQ(tap_.streams, 0);
  EXPECT_TRUE(rig_.session->ending());

  rig_.connect();
  rig_.ask(request("/tap"));
  rig_.session->on_end(Cause::kReset, {});
  EXPECT_EQ(tap_.streams, 0);

  rig_.connect();
  rig_.ask(request("/tap"));
  rig_.session->on_deaf();
  EXPECT_EQ(tap_.streams, 0);
}

TEST_F(HttpSessionTest, WhatComesDuringAStreamIsNotKept) {
  rig_.ask(request("/tap"));
  EXPECT_EQ(rig_.ask(request("/hello")), "");
  EXPECT_EQ(rig_.waiting, "");
  tap_.output->finish();
  rig_.settle();
  EXPECT_TRUE(rig_.closed) << "a request was not answered";
}

// Deadlines

TEST_F(HttpSessionTest, ARequestThatTakesTooLongIsRefused) {
  rig_.site.limits.receive = std::chrono::milliseconds(30);
  rig_.send("GET /hel");
  ASSERT_TRUE(rig_.turn_until([&] {
    if (!rig_.closed) rig_.send("l");  // a byte now and then does not help
    return rig_.closed;
  }));
  EXPECT_TRUE(rig_.take().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  EXPECT_EQ(rig_.session->ending(), Cause::kIdle);
}

TEST_F(HttpSessionTest, AnIdleConnectionEndsSilently) {
  rig_.site.limits.idle = std::chrono::milliseconds(30);
  rig_.connect();
  rig_.ask(request("/hello"));
  ASSERT_TRUE(rig_.turn_until([&] { return rig_.closed; }));
  EXPECT_EQ(rig_.take(), "");
}

TEST_F(HttpSessionTest, AStreamIsNotIdleButAPeerThatTakesNothingIsSlow) {
  rig_.site.limits.idle = std::chrono::milliseconds(20);
  rig_.site.limits.send = std::chrono::milliseconds(60);
  rig_.connect();
  rig_.ask(request("/tap"));
  const Clock::time_point later = Clock::now() + std::chrono::milliseconds(120);
  EXPECT_TRUE(rig_.turn_until([&] { return Clock::now() > later; }));
  EXPECT_FALSE(rig_.closed);
  rig_.stuck = true;
  tap_.say("one");
  ASSERT_TRUE(rig_.turn_until([&] { return rig_.closed; }));
  EXPECT_EQ(rig_.session->ending(), Cause::kSlow);
}

// Deaths of the worker

TEST_F(HttpSessionTest, ASuccessorGoesOnWithWhatIsQueued) {
  rig_.ask(request("/hello?1") + "GET /hello?2 ");
  rig_.die();
  EXPECT_FALSE(rig_.closed);
  EXPECT_EQ(rig_.ask("HTTP/1.1\r\nHost: h\r\n\r\n"), ok("hi 2"));
  rig_.die();
  rig_.die();
  EXPECT_EQ(rig_.ask(request("/hello?3")), ok("hi 3"));
}

TEST_F(HttpSessionTest, ASuccessorNeitherRepeatsNorContinuesAnAnswer) {
  const std::string answer = ok("hi 1");
  for (std::size_t sent = 0; sent <= answer.size(); ++sent) {
    rig_.connect();
    rig_.waiting = request("/hello?1") + request("/hello?2");
    const std::string two = rig_.waiting;
    rig_.waiting = request("/hello?1");
    rig_.shown();
    rig_.write(sent);
    rig_.waiting = request("/hello?2");
    rig_.take();
    rig_.die();
    if (sent == answer.size())
      EXPECT_EQ(rig_.take(), ok("hi 2"));
    else
      EXPECT_EQ(rig_.take(), "") << sent;
    EXPECT_EQ(rig_.closed, sent < answer.size()) << sent;
  }
}

TEST_F(HttpSessionTest, ASuccessorAnswersWhatWasLookedAtAndNotTaken) {
  rig_.ask(request("/hello?1"));
  rig_.waiting = request("/hello?2");
  const std::uint64_t before = rig_.slot().bytes;
  rig_.shown();
  rig_.slot().bytes = before;  // killed before the bytes were counted
  rig_.waiting = request("/hello?2");
  rig_.die();
  EXPECT_EQ(rig_.take(), ok("hi 2"));
  EXPECT_FALSE(rig_.closed);
}

TEST_F(HttpSessionTest, ASuccessorEndsAStream) {
  rig_.ask(request("/tap"));
  tap_.say("one");
  rig_.settle();
  rig_.take();
  rig_.die();
  EXPECT_EQ(rig_.take(), "");
  EXPECT_TRUE(rig_.closed);
  EXPECT_EQ(rig_.session->ending(), Cause::kLost);

  rig_.connect();
  rig_.ask(request("/tap"));
  tap_.output->finish();
  rig_.settle();
  rig_.take();
  rig_.die();
  EXPECT_EQ(rig_.ask(request("/hello")), ok("hi ")) << "this one had ended before";
}

}  // namespace
}  // namespace serverd::http
