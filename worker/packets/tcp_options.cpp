#include "worker/packets/tcp_options.h"

namespace serverd::packets {

std::optional<TcpOption> TcpOptions::next() noexcept {
  if (padding_ || rest_.empty()) return std::nullopt;
  TcpOption option;
  option.type = rest_[0];
  if (option.type == kEnd) {
    padding_ = rest_.subspan(1);
    return option;
  }
  if (option.type != kNoOperation) {
    if (rest_.size() < 2 || rest_[1] < 2 || rest_[1] > rest_.size()) return std::nullopt;
    option.length = rest_[1];
    option.data = rest_.subspan(2, option.length - std::size_t{2});
  }
  rest_ = rest_.subspan(option.length);
  return option;
}

}  // namespace serverd::packets
