#include "worker/http/codec.h"
#include "worker/http/cors.h"
#include "worker/http/date.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace serverd::http {
namespace {

using Event = RequestReader::Event;

/// What the only request in `text` is refused with; "taken" or "incomplete" if it is not.
std::string judgement(std::string_view text) {
  RequestReader reader({});
  Request request;
  const RequestReader::Step step = reader.next(text, request);
  if (step.event == Event::kNeedMore) return "incomplete";
  if (step.event == Event::kRequest) return "taken";
  return std::to_string(step.refusal.status) + " " + std::string(step.refusal.why);
}

std::string get(std::string_view fields) {
  return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}

TEST(HttpCodec, ReadsARequest) {
  RequestReader reader({});
  Request request;
  const std::string text =
      "GET /api/capture?i=lo&p=tcp?x HTTP/1.1\r\nHost: a\r\nORIGIN:  http://b \r\n\r\nrest";
  const RequestReader::Step step = reader.next(text, request);
  EXPECT_EQ(step.event, Event::kRequest);
  EXPECT_EQ(step.consumed, text.size() - 4);
  EXPECT_EQ(request.method, Method::kGet);
  EXPECT_EQ(request.path, "/api/capture");
  EXPECT_EQ(request.query, "i=lo&p=tcp?x");
  EXPECT_EQ(request.field("origin"), "http://b");
  EXPECT_EQ(request.field("referer"), "");
  EXPECT_TRUE(request.keep_alive);
}

TEST(HttpCodec, KnowsWhenTheConnectionGoesOn) {
  const auto goes_on = [](const std::string& text) {
    RequestReader reader({});
    Request request;
    EXPECT_EQ(reader.next(text, request).event, Event::kRequest) << text;
    return request.keep_alive;
  };
  EXPECT_TRUE(goes_on(get("")));
  EXPECT_FALSE(goes_on(get("Connection: x, Close\r\n")));
  EXPECT_FALSE(goes_on("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(goes_on("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

TEST(HttpCodec, UnderstandsTheFormsOfATarget) {
  const auto target = [](const std::string& text) {
    RequestReader reader({});
    Request request;
    const std::string whole = text + " HTTP/1.1\r\nHost: a\r\n\r\n";
    reader.next(whole, request);
    return std::string(request.path) + "|" + std::string(request.query);
  };
  EXPECT_EQ(target("GET http://a:80/x?y=1"), "/x|y=1");
  EXPECT_EQ(target("GET HTTPS://a"), "/|");
  EXPECT_EQ(target("GET http://a?y"), "/|y");
  EXPECT_EQ(target("OPTIONS *"), "*|");
  EXPECT_EQ(judgement("GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
            "400 the target is neither a path nor an address");
  EXPECT_EQ(judgement("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), "400 a '#' in the target");
}

TEST(HttpCodec, JoinsChunksAndDropsTrailers) {
  RequestReader reader({});
  Request request;
  const std::string text =
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
      "3;x=\"y\"\r\nabc\r\n2\r\nde\r\n0\r\nHost: evil\r\nX: y\r\n\r\nGET ";
  const RequestReader::Step step = reader.next(text, request);
  ASSERT_EQ(step.event, Event::kRequest) << step.refusal.why;
  EXPECT_EQ(step.consumed, text.size() - 4);
  EXPECT_EQ(request.body, "abcde");
  EXPECT_EQ(request.field("X"), "");
}

TEST(HttpCodec, NeedsTheWholeRequestAndSeesItHoweverItIsSplit) {
  const std::string text =
      "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /y HTTP/1.1\r\n";
  const std::size_t whole = text.find("GET");
  RequestReader reader({});
  Request request;
  std::size_t begin = 0;
  for (std::size_t size = 1; size < whole; ++size) {
    const auto step = reader.next(std::string_view(text).substr(begin, size - begin), request);
    EXPECT_EQ(step.event, Event::kNeedMore) << size;
    begin += step.consumed;
  }
  EXPECT_EQ(begin, 2U) << "the empty line before it is nothing";
  const auto step = reader.next(std::string_view(text).substr(begin), request);
  EXPECT_EQ(step.event, Event::kRequest);
  EXPECT_EQ(begin + step.consumed, whole);
  EXPECT_EQ(request.body, "abc");
}

TEST(HttpCodec, RefusesWhatTwoReadersCouldUnderstandDifferently) {
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const std::string length = "Content-Length: 4\r\n";
  EXPECT_EQ(judgement(get(chunked + length)), "400 a bad Content-Length");
  EXPECT_EQ(judgement(get(length + chunked)), "400 a bad Transfer-Encoding");
  EXPECT_EQ(judgement(get(length + length)), "400 more than one Content-Length");
  EXPECT_EQ(judgement(get("Content-Length: 4, 4\r\n")), "400 more than one Content-Length");
  for (const std::string bad : {"+4", "-4", "0x4", "4 4", "", "99999999999999999999"})
    EXPECT_EQ(judgement(get("Content-Length: " + bad + "\r\n")).substr(0, 3), "400") << bad;
  EXPECT_EQ(judgement(get(chunked + chunked)), "400 a bad Transfer-Encoding");
  for (const std::string bad :
       {"gzip", "gzip, chunked", "chunked, chunked", "xchunked", "identity"})
    EXPECT_EQ(judgement(get("Transfer-Encoding: " + bad + "\r\n")),
              "501 a Transfer-Encoding other than chunked")
        << bad;
  EXPECT_EQ(judgement("GET / HTTP/1.0\r\n" + chunked + "\r\n"),
            "400 a Transfer-Encoding in HTTP/1.0");
  EXPECT_EQ(judgement(get("Transfer-Encoding : chunked\r\n")),
            "400 a field's name has a character too many");
  EXPECT_EQ(judgement(get("X: a\r\n Transfer-Encoding: chunked\r\n")), "400 a folded line");
  EXPECT_EQ(judgement(get("X: a\nTransfer-Encoding: chunked\r\n")), "400 a line ends without CR");
  EXPECT_EQ(judgement(get("X: a\rTransfer-Encoding: chunked\r\n")), "400 CR without LF");
  EXPECT_EQ(judgement(get(std::string("X: a\0b\r\n", 8))), "400 a control character");
  EXPECT_EQ(judgement(get("Host: b\r\n")), "400 more than one Host");
  EXPECT_EQ(judgement("GET / HTTP/1.1\r\n\r\n"), "400 no Host");
  EXPECT_EQ(judgement(get("just text\r\n")), "400 a field without a name");
  EXPECT_EQ(judgement(get(chunked) + "4\nabcd\r\n0\r\n\r\n").substr(0, 3), "400");
  EXPECT_EQ(judgement(get(chunked) + "-1\r\n"), "400 a bad chunk");
  EXPECT_EQ(judgement(get(chunked) + "4\r\nabcdX\r\n0\r\n\r\n"), "400 a bad chunk");
  EXPECT_EQ(judgement(get(chunked) + "fffffffffffffffff\r\n").substr(0, 3), "400");
}

TEST(HttpCodec, RefusesGarbageAtOnce) {
  EXPECT_EQ(judgement("\x16\x03\x01"), "400 not a request of HTTP");
  EXPECT_EQ(judgement(" GET"), "400 not a request of HTTP");
  EXPECT_EQ(judgement("hello\n"), "400 a line ends without CR");
  EXPECT_EQ(judgement("GET /\r\n\r\n").substr(0, 3), "400") << "HTTP/0.9";
  EXPECT_EQ(judgement("GET  / HTTP/1.1\r\nHost: a\r\n\r\n").substr(0, 3), "400");
  EXPECT_EQ(judgement("GET / HTTP/1.12\r\nHost: a\r\n\r\n").substr(0, 3), "400");
  EXPECT_EQ(judgement("GET / HTTP/2.0\r\nHost: a\r\n\r\n").substr(0, 3), "505");
  EXPECT_EQ(judgement("GET / HTTP/1.2\r\nHost: a\r\n\r\n").substr(0, 3), "505");
  EXPECT_EQ(judgement(get("Expect: pancakes\r\n")), "417 an unknown Expect");
}

TEST(HttpCodec, BoundsWhatItHolds) {
  EXPECT_EQ(judgement("GET /" + std::string(9'000, 'a')), "414 the target is too long");
  EXPECT_EQ(judgement("GET / HTTP/1.1\r\nX: " + std::string(17'000, 'a')),
            "431 the head of the request is too large");
  std::string many;
  for (int i = 0; i < 100; ++i) many += "X: y\r\n";
  EXPECT_EQ(judgement("GET / HTTP/1.1\r\nHost: a\r\n" + many + "\r\n"), "431 too many fields");
  EXPECT_EQ(judgement(get("Content-Length: 32769\r\n")), "413 the body is too large");
  EXPECT_EQ(judgement(get("Content-Length: 32768\r\n")), "incomplete");
  const std::string chunked = get("Transfer-Encoding: chunked\r\n");
  EXPECT_EQ(judgement(chunked + "8001\r\n"), "413 the body is too large");
  std::string frames;
  while (frames.size() < 60'000) frames += "1;aaaaaaaaaaaaaaaa\r\nx\r\n";
  EXPECT_EQ(judgement(chunked + frames), "413 the body is too large");
}

TEST(HttpCodec, SaysWhenThePeerWaitsForAWord) {
  const std::string text = get("Content-Length: 2\r\nExpect: 100-Continue\r\n");
  RequestReader reader({});
  Request request;
  EXPECT_TRUE(reader.next(text, request).expects_continue);
  EXPECT_FALSE(reader.next(text + "a", request).expects_continue);
  EXPECT_EQ(reader.next(text + "ab", request).event, Event::kRequest);
}

TEST(HttpCodec, WritesAHead) {
  Outbox out;
  append_head(out, {404, {{"Content-Type", "text/plain"}, {"Vary", "Origin"}}});
  const auto bytes = out.after(0);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nVary: Origin\r\n\r\n");
  EXPECT_EQ(date_field(784'111'777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(HttpCodec, WritesJsonThatIsAlwaysText) {
  EXPECT_EQ(json_error(400, "a \"b\" \\ \n \xC3\xA9 \xFF \xED\xA0\x80").body,
            "{\"error\":\"a \\\"b\\\" \\\\ \\u000a \xC3\xA9 \xEF\xBF\xBD "
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"}");
}

std::string cors_fields(const Cors& cors, std::string_view origin) {
  std::vector<Field> fields;
  cors.add_fields(origin, fields);
  std::string text;
  for (const Field& field : fields)
    text += std::string(field.name) + "=" + std::string(field.value.substr(0, 12)) + ";";
  return text;
}

TEST(HttpCors, LetsOnlyPagesOfTheOriginsRead) {
  const std::string rest =
      "Access-Control-Allow-Credentials=true;Access-Control-Allow-Headers=Content-Type;"
      "Access-Control-Allow-Methods=POST, OPTION;";
  EXPECT_EQ(cors_fields(Cors(), "http://a"), "");
  EXPECT_EQ(cors_fields(Cors({"*"}), ""), "Access-Control-Allow-Origin=*;" + rest);
  const Cors two({"http://a", "http://b"});
  EXPECT_EQ(cors_fields(two, "http://b"),
            "Vary=Origin;Access-Control-Allow-Origin=http://b;" + rest);
  EXPECT_EQ(cors_fields(two, "http://c"), "Vary=Origin;");
  EXPECT_EQ(cors_fields(two, ""), "Vary=Origin;");
}

TEST(HttpOutbox, KeepsOffsetsThroughMovesAndGrowth) {
  Outbox out(100);
  std::string expected;
  std::uint64_t sent = 100;
  for (unsigned i = 0; i < 3000; ++i) {
    const std::string part(i % 97, static_cast<char>('a' + i % 26));
    out.append(part);
    expected += part;
    const auto due = out.after(sent);
    const std::size_t n = due.size() * (i % 4) / 4;
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(due.data()), n),
              expected.substr(sent - 100, n));
    sent += n;
  }
  EXPECT_EQ(out.end(), 100 + expected.size());
  EXPECT_EQ(out.pending(), out.end() - sent + (sent - (out.end() - out.pending())));
  out.after(out.end());
  out.shrink();
  EXPECT_EQ(out.pending(), 0U);
  EXPECT_EQ(out.end(), 100 + expected.size());
}

}  // namespace
}  // namespace serverd::http
