#include "worker/http/http_session.h"

#include "worker/http/date.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace serverd::http {

using ledger::Cause;

namespace {

constexpr Clock::time_point kNever = Clock::time_point::max();

/// The size of a chunk is written when the chunk is whole, into room kept for it: leading zeros are
/// allowed (RFC 9112, section 7.1).
constexpr std::string_view kChunkHead = "00000000\r\n";
constexpr std::string_view kChunkEnd = "\r\n";
constexpr std::string_view kLastChunk = "0\r\n\r\n";

constexpr std::uint64_t kStreaming = std::uint64_t{1} << 63;
constexpr std::uint64_t kNoInput = ~std::uint64_t{0};

Response refusal_response(const Refusal& refusal) {
  return {refusal.status, "text/plain",
          fmt::format("{} {}: {}", refusal.status, reason_of(refusal.status), refusal.why)};
}

}  // namespace

HttpSession::HttpSession(Site& site, ledger::Slot& slot, std::uint32_t slot_index, Origin origin)
    : site_(site),
      slot_(slot),
      slot_index_(slot_index),
      reader_(site.limits.request),
      unchecked_(origin == Origin::kResumed),
      quiet_since_(site.host->loop().now()),
      taken_at_(quiet_since_),
      timer_(site.host->loop(), [this] { on_timer(); }) {
  schedule();
}

HttpSession::~HttpSession() = default;

Taken HttpSession::on_bytes(std::span<const std::byte> bytes, bool) noexcept {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Taken taken;
  if (unchecked_) end(Cause::kLost);  // nothing can be sent
  taken.protocol = take_requests(text, taken.crowded);
  const std::size_t left = taken.crowded ? 0 : text.size() - taken.protocol;
  if (left > 0 && (partial_ == 0 || taken.protocol > 0)) request_since_ = site_.host->loop().now();
  partial_ = left;
  if (taken.protocol > 0) {
    quiet_since_ = site_.host->loop().now();
    promise(slot_.bytes + taken.protocol);
  }
  schedule();
  return taken;
}

/// What comes while a stream runs, or behind what was refused, is nobody's.
std::size_t HttpSession::take_requests(std::string_view bytes, bool& crowded) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    if (ending_) return bytes.size();
    if (stream_) {
      keep_ = false;
      return bytes.size();
    }
    crowded = outbox_.pending() >= kCrowded;
    if (crowded) return done;
    Request request;
    const RequestReader::Step step = reader_.next(bytes.substr(done), request);
    done += step.consumed;
    if (step.event == RequestReader::Event::kNeedMore) {
      if (step.expects_continue && !std::exchange(continued_, true)) {
        begin_output().append("HTTP/1.1 100 Continue\r\n\r\n");
        promise(slot_.bytes + done);
      }
      return done;
    }
    continued_ = false;
    if (step.event == RequestReader::Event::kRefused)
      refuse(step.refusal);
    else
      answer(request);
  }
  return done;
}

void HttpSession::answer(const Request& request) {
  const bool keep = request.keep_alive && ++requests_ < site_.limits.requests;
  Answer answer = site_.routes.answer(request);
  if (auto* streamed = std::get_if<StreamedResponse>(&answer))
    send_stream(request, std::move(*streamed), keep);
  else
    send_whole(request, std::get<Response>(answer), keep);
}

void HttpSession::refuse(const Refusal& refusal) {
  send_whole(Request(), refusal_response(refusal), false);
}

void HttpSession::send_whole(const Request& request, const Response& response, bool keep) {
  const std::string size = std::to_string(response.body.size());
  ResponseHead head{response.status, response.fields};
  if (response.status != 204) {
    head.fields.push_back({"Content-Type", response.type});
    head.fields.push_back({"Content-Length", size});
  }
  put_head(request, std::move(head), keep);
  if (request.method != Method::kHead) outbox_.append(response.body);
  if (!keep) end(Cause::kEof);
}

void HttpSession::send_stream(const Request& request, StreamedResponse response, bool keep) {
  chunked_ = !request.http_1_0;
  keep_ = keep && chunked_;
  ResponseHead head{200, std::move(response.fields)};
  head.fields.push_back({"Content-Type", response.type});
  if (chunked_) head.fields.push_back({"Transfer-Encoding", "chunked"});
  put_head(request, std::move(head), keep_);
  if (request.method == Method::kHead) {
    if (!keep_) end(Cause::kEof);
    return;
  }
  stream_ = std::move(response.stream);
  stream_done_ = false;
  stream_->start(*this);
}

void HttpSession::put_head(const Request& request, ResponseHead head, bool keep) {
  const std::string date = date_field(site_.wall());
  head.fields.push_back({"Date", date});
  head.fields.push_back({"Connection", keep ? "keep-alive" : "close"});
  site_.cors.add_fields(request.field("Origin"), head.fields);
  append_head(begin_output(), head);
}

/// Where nothing was pending the peer has time again to take what comes now.
Outbox& HttpSession::begin_output() noexcept {
  if (outbox_.pending() == 0) taken_at_ = site_.host->loop().now();
  return outbox_;
}

Outbox& HttpSession::open() {
  if (!std::exchange(chunk_open_, true)) {
    chunk_at_ = begin_output().end();
    if (chunked_) outbox_.append(kChunkHead);
  }
  return outbox_;
}

void HttpSession::flush() {
  if (!std::exchange(chunk_open_, false)) return;
  if (chunked_) {
    const std::uint64_t size = outbox_.end() - chunk_at_ - kChunkHead.size();
    if (size == 0) return outbox_.cut(chunk_at_);  // it would be the last chunk
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", static_cast<unsigned>(size));
    std::copy_n(digits, 8, outbox_.at(chunk_at_));
    outbox_.append(kChunkEnd);
  }
  schedule();
  site_.host->wake(slot_index_);
}

void HttpSession::finish() {
  flush();
  stream_done_ = true;
  site_.host->wake(slot_index_);
}

void HttpSession::end_stream() noexcept {
  stream_.reset();
  if (chunked_) outbox_.append(kLastChunk);
  quiet_since_ = site_.host->loop().now();
  if (!keep_) end(Cause::kEof);
  promise(slot_.bytes);
  schedule();
}

void HttpSession::end(Cause cause) noexcept {
  if (!ending_) ending_ = cause;
}

std::span<const std::byte> HttpSession::output(std::uint64_t sent) noexcept {
  if (unchecked_) check_predecessor(sent);
  if (stream_ && stream_done_) end_stream();
  if (sent != sent_) taken_at_ = site_.host->loop().now();
  sent_ = sent;
  const auto due = outbox_.after(sent);
  if (due.empty() && !stream_) outbox_.shrink();
  return due;
}

/// The predecessor has promised output for the input that was taken: all of it must have been sent.
void HttpSession::check_predecessor(std::uint64_t sent) noexcept {
  unchecked_ = false;
  sent_ = sent;
  outbox_ = Outbox(sent);
  for (std::size_t at = 0; at < 4; at += 2)
    if (slot_.protocol[at] == slot_.bytes && slot_.protocol[at + 1] == sent) return;
  end(Cause::kLost);
  site_.host->wake(slot_index_);
}

/// Two notes, written in turn: the one before holds until the input is taken.
void HttpSession::promise(std::uint64_t input) noexcept {
  const std::size_t at = std::exchange(next_promise_, 2 - next_promise_);
  slot_.protocol[at].store(kNoInput, std::memory_order_release);
  slot_.protocol[at + 1].store(outbox_.end() | (stream_ ? kStreaming : 0),
                               std::memory_order_release);
  slot_.protocol[at].store(input, std::memory_order_release);
}

void HttpSession::on_deaf() noexcept {
  stream_.reset();
  outbox_ = Outbox(outbox_.end());
  end(Cause::kEof);
}

/// A stream's peer that has finished is taken for gone.
void HttpSession::on_eof() noexcept {
  if (!stream_) return;
  stream_.reset();
  end(Cause::kEof);
}

void HttpSession::on_end(Cause, std::error_code) noexcept {
  stream_.reset();
  timer_.disarm();
}

Clock::time_point HttpSession::deadline() const noexcept {
  const Limits& limits = site_.limits;
  if (outbox_.pending() > 0) return taken_at_ + limits.send;
  if (stream_) return kNever;
  if (partial_ > 0) return request_since_ + limits.receive;
  return limits.idle > Clock::duration::zero() ? quiet_since_ + limits.idle : kNever;
}

/// A deadline that moves back is noticed when the timer comes.
void HttpSession::schedule() {
  const Clock::time_point due = deadline();
  if (due == kNever || (timer_.armed() && armed_for_ <= due)) return;
  armed_for_ = due;
  timer_.arm(due);
}

void HttpSession::on_timer() {
  if (deadline() > site_.host->loop().now()) return schedule();
  if (outbox_.pending() > 0) {
    ending_ = Cause::kSlow;
  } else {
    if (partial_ > 0) refuse({408, "the request took too long"});
    ending_ = Cause::kIdle;
  }
  site_.host->wake(slot_index_);
}

}  // namespace serverd::http
