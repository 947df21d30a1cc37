#pragma once

#include <string>
#include <vector>

namespace serverd {

/// How a table is shown.
enum class TableStyle {
  kTabs,      ///< for programs: one tab between cells
  kTerminal,  ///< for people: aligned, with bold headings and colours
};
/// By what standard output is.
TableStyle style_of_stdout() noexcept;

enum class Colour { kNone, kGreen, kYellow, kRed };

/// Rows of text under headings. Cells must be safe for a terminal.
class Table final {
 public:
  struct Column {
    std::string heading;
    bool to_the_right = false;
  };
  struct Cell {
    Cell(std::string cell_text, Colour cell_colour = Colour::kNone)  // NOLINT: texts are cells
        : text(std::move(cell_text)), colour(cell_colour) {}
    std::string text;
    Colour colour;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// As many cells as there are columns.
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  std::string text(TableStyle style) const;

 private:
  std::vector<std::size_t> widths() const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

/// "7 s", "12 min", "3 h 5 min", "2 d 1 h".
std::string duration_text(std::uint64_t seconds);

}  // namespace serverd
