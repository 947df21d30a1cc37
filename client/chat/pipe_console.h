#pragma once

#include "client/chat/console.h"
#include "common/loop/loop.h"
#include "common/wire/tsam_frame.h"

#include <string>

namespace serverd::chat {

/// Lines from a pipe or a file, without editing.
class PipeConsole final : public Console {
 public:
  /// Reads from the borrowed descriptor `in`, which stays as it is (blocking or not).
  PipeConsole(Loop& loop, int in);

  std::optional<std::string> next_line(const std::function<bool()>& give_up) override;
  void show(std::string_view line) override;
  void resized() override {}
  bool interactive() const override { return false; }

 private:
  std::optional<std::string> take_line();
  void read_more();

  Loop& loop_;
  int in_;
  std::string held_;  ///< read and not yet taken
  tsam::Position position_{tsam::Framing::kLines, false};
  bool ended_ = false;
  Watch watch_;
};

}  // namespace serverd::chat
