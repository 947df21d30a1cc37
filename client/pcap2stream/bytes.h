#pragma once

#include "common/wire/bytes.h"

namespace serverd::pcap2stream {

using wire::Bytes;

}  // namespace serverd::pcap2stream
