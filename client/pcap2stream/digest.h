#pragma once

#include "client/pcap2stream/bytes.h"

#include <memory>
#include <string>

struct evp_md_ctx_st;

namespace serverd::pcap2stream {

/// SHA-256 of bytes that come in pieces. Throws std::runtime_error if OpenSSL cannot provide it.
class Digest final {
 public:
  Digest();
  void update(Bytes bytes);
  /// 64 lower-case hexadecimal digits, of everything so far; more may follow.
  std::string hex() const;

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const noexcept;
  };

  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace serverd::pcap2stream
