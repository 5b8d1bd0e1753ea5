// Text tables and CSV.
#include "search/report/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstdint>

namespace hylas::search {
namespace {

struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 0;  // 0: not valid UTF-8 here
};

// The character at text[at], by the well-formed sequences of Unicode's table 3-7 (no overlong forms, no surrogates).
Character decode(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t first = byte(at);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return {};
  std::uint32_t code = first & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(at + i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {};
  return {code, length};
}

// Control characters, and those that reorder or break lines or are no characters at all.
bool is_dangerous(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x200E || code == 0x200F ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF ||
         (code & 0xFFFE) == 0xFFFE;
}

bool is_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error != std::errc::invalid_argument && end == text.data() + text.size();
}

std::string padded(const std::string& text, std::size_t width, Align align) {
  const std::string blanks(width - std::min(width, text_width(text)), ' ');
  return align == Align::right ? blanks + text : text + blanks;
}

void append_line(std::string& out, std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  out += line;
  out += '\n';
}

}  // namespace

std::string printable(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Character c = decode(text, at);
    if (c.bytes == 0 || is_dangerous(c.code)) {
      result += '?';
    } else {
      result += text.substr(at, c.bytes);
    }
    at += std::max<std::size_t>(1, c.bytes);
  }
  return result;
}

std::size_t text_width(std::string_view printable_text) {
  return static_cast<std::size_t>(std::count_if(printable_text.begin(), printable_text.end(),
                                                [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string cut(std::string_view text, std::size_t width) {
  std::string shown = printable(text);
  if (text_width(shown) <= width) return shown;
  const std::size_t kept = width > 3 ? width - 3 : 0;
  std::size_t bytes = 0;
  for (std::size_t seen = 0; bytes < shown.size(); ++bytes) {
    const bool starts = (static_cast<unsigned char>(shown[bytes]) & 0xC0) != 0x80;
    if (starts && seen++ == kept) break;
  }
  return shown.substr(0, bytes) + std::string(width - kept, '.');
}

std::string text_table(const Table& table) {
  std::vector<std::vector<std::string>> cells;
  std::vector<std::size_t> widths;
  for (const Table::Column& column : table.columns) {
    if (cells.empty()) cells.emplace_back();
    cells[0].push_back(printable(column.name));
    widths.push_back(text_width(cells[0].back()));
  }
  for (const std::vector<std::string>& row : table.rows) {
    assert(row.size() == table.columns.size());
    std::vector<std::string>& shown = cells.emplace_back();
    for (std::size_t i = 0; i < row.size(); ++i) {
      shown.push_back(printable(row[i]));
      widths[i] = std::max(widths[i], text_width(shown.back()));
    }
  }
  std::string out;
  for (std::size_t r = 0; r < cells.size(); ++r) {
    std::string line, rule;
    for (std::size_t i = 0; i < cells[r].size(); ++i) {
      if (i > 0) line += "  ", rule += "  ";
      line += padded(cells[r][i], widths[i], table.columns[i].align);
      rule += std::string(widths[i], '-');
    }
    append_line(out, line);
    if (r == 0) append_line(out, rule);
  }
  return out;
}

std::string csv_cell(std::string_view text) {
  std::string cell(text);
  const bool formula = !cell.empty() && std::string_view("=+-@\t\r").find(cell[0]) != std::string_view::npos;
  if (formula && !is_number(text)) cell.insert(0, 1, '\'');
  const bool blank_end = !cell.empty() && (cell.front() == ' ' || cell.back() == ' ');
  if (!blank_end && cell.find_first_of(",\"\n\r") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (const char c : cell) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string csv_table(const Table& table) {
  std::string out;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    if (i > 0) out += ',';
    out += csv_cell(table.columns[i].name);
  }
  out += '\n';
  for (const std::vector<std::string>& row : table.rows) {
    assert(row.size() == table.columns.size());
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) out += ',';
      out += csv_cell(row[i]);
    }
    out += '\n';
  }
  return out;
}

}  // namespace hylas::search
