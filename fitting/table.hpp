// Table: a small reader of CSV, TSV and JSON Lines, for `hylas fit --input F` and the tests.
//
// Format by extension: .csv, .tsv, .jsonl (or .ndjson). CSV follows RFC 4180 (quotes, doubled quotes, CRLF, line breaks
// inside quotes); the first record names the columns. JSONL: one object a line, the columns are the keys of the first.
// Errors: InputError names file, row (the line in the file) and column, e.g. an empty file, a record with a missing
// field, a repeated name, a number that does not parse, an unknown column (with the nearest known one).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "fitting/input_error.hpp"

namespace hylas::fitting {

class Table {
 public:
  [[nodiscard]] static Table read(const std::filesystem::path& file);
  [[nodiscard]] static Table parse_delimited(std::string_view text, char delimiter, std::string source);
  [[nodiscard]] static Table parse_jsonl(std::string_view text, std::string source);

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  [[nodiscard]] std::size_t rows() const { return rows_.size(); }
  [[nodiscard]] const std::vector<std::string>& row(std::size_t i) const { return rows_[i]; }
  [[nodiscard]] std::size_t line_of(std::size_t row) const { return lines_[row]; }
  [[nodiscard]] bool has(std::string_view column) const;
  [[nodiscard]] const std::string& source() const { return source_; }
  [[nodiscard]] Table where(const std::vector<bool>& rows) const;  // the rows that are true, with their lines
  [[nodiscard]] std::vector<std::string> texts(std::string_view column) const;
  // All finite numbers; `positive` also refuses zero and below.
  [[nodiscard]] std::vector<double> numbers(std::string_view column, bool positive = false) const;

 private:
  [[nodiscard]] std::size_t index_of(std::string_view column) const;
  void check_names() const;
  void add_row(std::vector<std::string> row, std::size_t line);

  std::string source_;
  std::vector<std::string> names_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> lines_;
};

}  // namespace hylas::fitting
