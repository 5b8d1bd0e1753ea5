// Tables: text aligned for a terminal, and CSV that a spreadsheet opens without running anything. Pure functions.
//
// Cells are UTF-8; widths count code points, with control characters shown as `?` so that a hostile name cannot move
// the cursor or forge a row. Errors: a row of another length than the header is a bug (assert). Thread-safety: pure
// functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hylas::search {

enum class Align { left, right };

struct Table {
  struct Column {
    std::string name;
    Align align = Align::left;
  };
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;
};

// Header, a rule, then the rows; two blanks between columns, none at the end of a line. No rows: the header and the
// rule.
[[nodiscard]] std::string text_table(const Table& table);

// Header and rows by RFC 4180 ("\n" line ends): cells with a comma, quote or line break are quoted. A cell that starts
// with = + - @, a tab or a carriage return and is not a number gets a leading ' so that no spreadsheet takes it for a
// formula.
[[nodiscard]] std::string csv_table(const Table& table);
[[nodiscard]] std::string csv_cell(std::string_view text);

// What both use: `text` with control characters and invalid UTF-8 replaced by '?', and its width in code points.
[[nodiscard]] std::string printable(std::string_view text);
[[nodiscard]] std::size_t text_width(std::string_view printable_text);
// printable(text) in at most `width` (>= 3) columns; what was cut ends in "...".
[[nodiscard]] std::string cut(std::string_view text, std::size_t width);

}  // namespace hylas::search
