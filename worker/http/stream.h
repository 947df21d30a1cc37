#pragma once

#include "worker/http/outbox.h"

#include <cstddef>

namespace serverd::http {

/// Where a stream puts what it sends.
class StreamOutput {
 public:
  /// Append here, then `flush`, before control goes back to the loop.
  virtual Outbox& open() = 0;
  /// What was appended is sent at the end of the turn.
  virtual void flush() = 0;
  /// Nothing follows. The stream is destroyed at the end of the turn.
  virtual void finish() = 0;
  /// Bytes that the peer has not taken yet.
  virtual std::size_t pending() const noexcept = 0;

 protected:
  ~StreamOutput() = default;
};

/// A body that comes piece by piece, without a known end. Destroyed when the peer is gone, and
/// after StreamOutput::finish.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Called once, when the response's head is in the output. `output` outlives the stream.
  virtual void start(StreamOutput& output) = 0;
};

}  // namespace serverd::http
