// The table reader; formats and errors are in the header.
#include "fitting/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

namespace hylas::fitting {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// One delimited record starting at `at`; moves `at` behind it and counts lines.
std::vector<std::string> record(std::string_view text, char delimiter, std::size_t& at, std::size_t& line,
                                const std::string& source) {
  std::vector<std::string> fields(1);
  const std::size_t first_line = line;
  bool quoted = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (at + 1 < text.size() && text[at + 1] == '"') {
        fields.back() += '"';
        ++at;
      } else {
        quoted = false;
      }
    } else if (c == '"' && fields.back().empty()) {
      quoted = true;
    } else if (c == delimiter) {
      fields.emplace_back();
    } else if (c == '\n') {
      ++at;
      break;
    } else if (c != '\r' || (at + 1 < text.size() && text[at + 1] != '\n')) {
      fields.back() += c;
    }
  }
  if (quoted) throw InputError(fmt::format("{}, line {}: a quote is never closed", source, first_line));
  return fields;
}

std::string json_field(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

Table Table::read(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream || std::filesystem::is_directory(file)) {
    throw InputError(fmt::format("{}: cannot be read; check that the file exists", file.string()));
  }
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  const std::string extension = file.extension().string();
  if (extension == ".csv") return parse_delimited(text, ',', file.string());
  if (extension == ".tsv") return parse_delimited(text, '\t', file.string());
  if (extension == ".jsonl" || extension == ".ndjson") return parse_jsonl(text, file.string());
  throw InputError(
      fmt::format("{}: the format is told by the extension, which must be .csv, .tsv or .jsonl", file.string()));
}

Table Table::parse_delimited(std::string_view text, char delimiter, std::string source) {
  Table table;
  table.source_ = std::move(source);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::size_t at = 0, line = 1;
  if (trimmed(text.substr(0, text.find('\n'))).empty()) {
    throw InputError(fmt::format("{}: no header; the first line must name the columns", table.source_));
  }
  for (const std::string& name : record(text, delimiter, at, line, table.source_)) {
    table.names_.emplace_back(trimmed(name));
  }
  table.check_names();
  while (at < text.size()) {
    const std::size_t first = line;
    std::vector<std::string> fields = record(text, delimiter, at, line, table.source_);
    if (fields.size() == 1 && trimmed(fields[0]).empty()) continue;  // a blank line
    table.add_row(std::move(fields), first);
  }
  return table;
}

Table Table::parse_jsonl(std::string_view text, std::string source) {
  Table table;
  table.source_ = std::move(source);
  std::size_t line = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view part = trimmed(text.substr(at, end - at));
    at = end + 1;
    ++line;
    if (part.empty()) continue;
    const auto object = nlohmann::json::parse(part, nullptr, false);
    if (!object.is_object()) {
      throw InputError(fmt::format("{}, line {}: not a JSON object; every line must be one", table.source_, line));
    }
    if (table.names_.empty()) {
      for (const auto& [key, value] : object.items()) table.names_.push_back(key);
      table.check_names();
    }
    std::vector<std::string> fields;
    for (const std::string& name : table.names_) {
      if (!object.contains(name) || object[name].is_null()) {
        throw InputError(fmt::format("{}, line {}: column '{}' is missing", table.source_, line, name));
      }
      fields.push_back(json_field(object[name]));
    }
    table.add_row(std::move(fields), line);
  }
  if (table.names_.empty()) throw InputError(fmt::format("{}: no rows", table.source_));
  return table;
}

void Table::check_names() const {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (names_[i].empty()) throw InputError(fmt::format("{}: column {} has no name", source_, i + 1));
    if (std::find(names_.begin(), names_.begin() + static_cast<std::ptrdiff_t>(i), names_[i]) !=
        names_.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw InputError(fmt::format("{}: the column name '{}' is given twice", source_, names_[i]));
    }
  }
}

void Table::add_row(std::vector<std::string> row, std::size_t line) {
  if (row.size() < names_.size()) {
    throw InputError(fmt::format("{}, line {}: {} fields where the header has {}; column '{}' is missing", source_,
                                 line, row.size(), names_.size(), names_[row.size()]));
  }
  if (row.size() > names_.size()) {
    throw InputError(
        fmt::format("{}, line {}: {} fields where the header has {}", source_, line, row.size(), names_.size()));
  }
  rows_.push_back(std::move(row));
  lines_.push_back(line);
}

Table Table::where(const std::vector<bool>& rows) const {
  Table table;
  table.source_ = source_;
  table.names_ = names_;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (!rows[i]) continue;
    table.rows_.push_back(rows_[i]);
    table.lines_.push_back(lines_[i]);
  }
  return table;
}

bool Table::has(std::string_view column) const {
  return std::ranges::find(names_, column) != names_.end();
}

std::size_t Table::index_of(std::string_view column) const {
  const auto found = std::ranges::find(names_, column);
  if (found != names_.end()) return static_cast<std::size_t>(found - names_.begin());
  std::size_t least = std::numeric_limits<std::size_t>::max();
  std::string nearest;
  for (const std::string& name : names_) {
    const std::size_t distance = edit_distance(column, name);
    if (distance < least) {
      least = distance;
      nearest = name;
    }
  }
  const bool close = least <= std::max<std::size_t>(2, column.size() / 3);
  throw InputError(fmt::format("{}: no column '{}'{}; the columns are {}", source_, column,
                               close ? fmt::format(" (did you mean '{}'?)", nearest) : "", fmt::join(names_, ", ")));
}

std::vector<std::string> Table::texts(std::string_view column) const {
  const std::size_t j = index_of(column);
  std::vector<std::string> out;
  for (const auto& row : rows_) out.push_back(row[j]);
  return out;
}

std::vector<double> Table::numbers(std::string_view column, bool positive) const {
  const std::size_t j = index_of(column);
  std::vector<double> out;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const std::string_view text = trimmed(rows_[i][j]);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const auto fail = [&](const char* what) {
      throw InputError(
          fmt::format("{}, line {}, column '{}': {} ('{}')", source_, lines_[i], column, what, text.substr(0, 40)));
    };
    if (text.empty()) fail("the field is empty; a number is needed");
    if (error != std::errc() || end != text.data() + text.size()) fail("not a number");
    if (!std::isfinite(value)) fail("not a finite number");
    if (positive && value <= 0) fail("must be positive");
    out.push_back(value);
  }
  return out;
}

}  // namespace hylas::fitting
