#pragma once

#include "client/chat/console.h"
#include "common/loop/loop.h"

#include <cstddef>
#include <memory>
#include <string>

struct editline;
struct history;

namespace serverd::chat {

/// A terminal with line editing and history, by libedit (which reads ~/.editrc). What is shown
/// appears above the line being typed, which stays as it is. One at a time: libedit owns the
/// terminal.
class LineEditor final : public Console {
 public:
  /// On standard input and output. Throws std::system_error.
  explicit LineEditor(Loop& loop);
  ~LineEditor() override;
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  std::optional<std::string> next_line(const std::function<bool()>& give_up) override;
  void show(std::string_view line) override;
  void resized() override;
  bool interactive() const override { return true; }

 private:
  struct EndEditor {
    void operator()(editline* editor) const noexcept;
  };
  struct EndHistory {
    void operator()(history* history) const noexcept;
  };

  static int read_character(editline* editor, wchar_t* character);
  bool wait_for_input();
  void remember(const char* line);
  void erase_rows(std::size_t rows_above) const;
  std::size_t rows_above_end_of(std::string_view text) const;

  Loop& loop_;
  std::unique_ptr<history, EndHistory> history_;
  std::unique_ptr<editline, EndEditor> editor_;
  const std::function<bool()>* give_up_ = nullptr;  ///< while a line is edited
  bool readable_ = false;
  Watch watch_;
};

}  // namespace serverd::chat
