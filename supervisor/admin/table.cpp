#include "supervisor/admin/table.h"

#include <fmt/format.h>

#include <algorithm>

#include <unistd.h>

namespace serverd {
namespace {

const char* escape_of(Colour colour) {
  constexpr const char* kEscapes[] = {"", "\x1b[32m", "\x1b[33m", "\x1b[31m"};
  return kEscapes[static_cast<int>(colour)];
}

constexpr const char* kBold = "\x1b[1m";
constexpr const char* kPlain = "\x1b[0m";

/// Escapes stand around the text and not around what fills the column.
std::string padded(const std::string& text, const char* escape, std::size_t width,
                   bool to_the_right) {
  const std::string fill(width - std::min(width, text.size()), ' ');
  const std::string shown = *escape == '\0' ? text : escape + text + kPlain;
  return to_the_right ? fill + shown : shown + fill;
}

}  // namespace

TableStyle style_of_stdout() noexcept {
  return ::isatty(STDOUT_FILENO) != 0 ? TableStyle::kTerminal : TableStyle::kTabs;
}

std::vector<std::size_t> Table::widths() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = columns_[i].heading.size();
    for (const auto& row : rows_) width = std::max(width, row[i].text.size());
    widths.push_back(width);
  }
  return widths;
}

std::string Table::text(TableStyle style) const {
  const std::vector<std::size_t> width = widths();
  std::string text;
  const auto put = [&](std::size_t i, const std::string& cell, const char* escape) {
    const bool last = i + 1 == columns_.size();
    if (style == TableStyle::kTabs)
      text += cell;
    else
      text += padded(cell, escape, last && !columns_[i].to_the_right ? 0 : width[i],
                     columns_[i].to_the_right);
    text += last ? "\n" : style == TableStyle::kTabs ? "\t" : "  ";
  };
  for (std::size_t i = 0; i < columns_.size(); ++i) put(i, columns_[i].heading, kBold);
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < columns_.size(); ++i) put(i, row[i].text, escape_of(row[i].colour));
  return text;
}

std::string duration_text(std::uint64_t seconds) {
  constexpr std::uint64_t kMinute = 60;
  constexpr std::uint64_t kHour = 60 * kMinute;
  constexpr std::uint64_t kDay = 24 * kHour;
  if (seconds < kMinute) return fmt::format("{} s", seconds);
  if (seconds < kHour) return fmt::format("{} min", seconds / kMinute);
  if (seconds < kDay) return fmt::format("{} h {} min", seconds / kHour, seconds % kHour / kMinute);
  return fmt::format("{} d {} h", seconds / kDay, seconds % kDay / kHour);
}

}  // namespace serverd
