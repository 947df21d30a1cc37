#include "client/chat/line_editor.h"

#include "common/os/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <cwchar>

#include <histedit.h>
#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace serverd::chat {
namespace {

constexpr int kHistorySize = 500;

char prompt_text[] = "chat> ";  // libedit wants it writable, and does not write

char* prompt(EditLine*) { return prompt_text; }

/// What is typed and shown is UTF-8, whatever the environment says.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

std::size_t terminal_columns() noexcept {
  winsize size{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

std::size_t width_of(std::string_view text) {
  std::size_t width = 0;
  std::mbstate_t state{};
  while (!text.empty()) {
    wchar_t character = 0;
    const std::size_t length = std::mbrtowc(&character, text.data(), text.size(), &state);
    if (length == 0 || length > text.size()) return width + text.size();
    width += static_cast<std::size_t>(std::max(::wcwidth(character), 0));
    text.remove_prefix(length);
  }
  return width;
}

}  // namespace

void LineEditor::EndEditor::operator()(editline* editor) const noexcept { ::el_end(editor); }
void LineEditor::EndHistory::operator()(struct history* history) const noexcept {
  ::history_end(history);
}

LineEditor::LineEditor(Loop& loop)
    : loop_(loop), watch_(loop, STDIN_FILENO, 0, [this](short) { readable_ = true; }) {
  use_utf8();
  history_.reset(::history_init());
  editor_.reset(::el_init("stream-chat", stdin, stdout, stderr));
  if (!history_ || !editor_) throw_system_error(ENOMEM, "line editor");
  EditLine* editor = editor_.get();
  HistEvent event{};
  ::history(history_.get(), &event, H_SETSIZE, kHistorySize);
  ::history(history_.get(), &event, H_SETUNIQUE, 1);
  ::el_set(editor, EL_CLIENTDATA, this);
  ::el_set(editor, EL_PROMPT, &prompt);
  ::el_set(editor, EL_EDITOR, "emacs");
  ::el_set(editor, EL_HIST, &::history, history_.get());
  ::el_set(editor, EL_GETCFN, &LineEditor::read_character);
  // For Ctrl+Z: the shell gets its terminal back as it was. The others come by the loop.
  ::el_set(editor, EL_SIGNAL, 1);
  ::el_source(editor, nullptr);
}

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::next_line(const std::function<bool()>& give_up) {
  give_up_ = &give_up;
  int length = 0;
  const char* text = ::el_gets(editor_.get(), &length);
  give_up_ = nullptr;
  if (text == nullptr || length <= 0 || give_up()) {
    fmt::print(stdout, "\n");
    return std::nullopt;
  }
  std::string line(text, static_cast<std::size_t>(length));
  remember(text);
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  // It is shown again, with its time.
  erase_rows(rows_above_end_of(line) + 1);
  return line;
}

/// For libedit: one character, while everything else goes on. 1, or 0 at the end of the input.
int LineEditor::read_character(editline* editor, wchar_t* character) {
  LineEditor* self = nullptr;
  ::el_get(editor, EL_CLIENTDATA, &self);
  std::mbstate_t state{};
  while (self->wait_for_input()) {
    char byte = 0;
    const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return 0;
    const std::size_t length = std::mbrtowc(character, &byte, 1, &state);
    if (length == static_cast<std::size_t>(-1))
      state = {};  // no character: as if it had not been typed
    else if (length != static_cast<std::size_t>(-2))
      return 1;
  }
  return 0;
}

/// False when there is no use in waiting any longer.
bool LineEditor::wait_for_input() {
  readable_ = false;
  watch_.want(POLLIN);
  while (!readable_ && !(*give_up_)()) loop_.run_once();
  watch_.want(0);
  return readable_ && !(*give_up_)();
}

void LineEditor::remember(const char* line) {
  HistEvent event{};
  if (std::strspn(line, " \t\r\n") < std::strlen(line))
    ::history(history_.get(), &event, H_ENTER, line);
}

std::size_t LineEditor::rows_above_end_of(std::string_view text) const {
  return (std::strlen(prompt_text) + width_of(text)) / terminal_columns();
}

/// From the cursor's row and so many above it to the end of the screen.
void LineEditor::erase_rows(std::size_t rows_above) const {
  if (rows_above > 0) fmt::print(stdout, "\033[{}A", rows_above);
  fmt::print(stdout, "\r\033[J");
}

void LineEditor::show(std::string_view line) {
  if (give_up_ == nullptr) {
    fmt::print(stdout, "{}\n", line);
    std::fflush(stdout);
    return;
  }
  const LineInfo* typed = ::el_line(editor_.get());
  erase_rows(
      rows_above_end_of({typed->buffer, static_cast<std::size_t>(typed->cursor - typed->buffer)}));
  fmt::print(stdout, "{}\n", line);
  std::fflush(stdout);
  ::el_set(editor_.get(), EL_REFRESH);
}

void LineEditor::resized() { ::el_resize(editor_.get()); }

}  // namespace serverd::chat
