// Tables and CSV: alignment, quoting, and names that try to do harm.
#include <random>

#include "search/report/table.hpp"
#include "tests/catch.hpp"

using namespace hylas::search;

namespace {

// A CSV reader by RFC 4180, for the round trip.
std::vector<std::vector<std::string>> read_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row = {""};
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c != '"') {
        row.back() += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        row.back() += text[++i];
      } else {
        quoted = false;
      }
    } else if (c == '"' && row.back().empty()) {
      quoted = true;
    } else if (c == ',') {
      row.emplace_back();
    } else if (c == '\n') {
      rows.push_back(row);
      row = {""};
    } else {
      row.back() += c;
    }
  }
  return rows;
}

}  // namespace

TEST_CASE("A text table aligns its columns by characters, not bytes, and ends no line in blanks") {
  const Table table{{{"design"}, {"D50", Align::right}, {"note"}},
                    {{"(swa:4 full)*2", "205k", ""}, {"d\xc3\xa9j\xc3\xa0", "> 2M", "censored"}}};
  CHECK(text_table(table) ==
        "design           D50  note\n"
        "--------------  ----  --------\n"
        "(swa:4 full)*2  205k\n"
        "d\xc3\xa9j\xc3\xa0            > 2M  censored\n");
  CHECK(text_table({{{"a"}, {"b"}}, {}}) == "a  b\n-  -\n");
  CHECK(text_table({}).empty());
}

TEST_CASE("Names cannot forge rows, move the cursor or turn the text around") {
  CHECK(printable("a\nb\tc\x1b[2Jd\x7f") == "a?b?c?[2Jd?");
  CHECK(printable(std::string("a\0b", 3)) == "a?b");
  CHECK(printable("\xc2\x85 \xe2\x80\xae \xe2\x80\xa8 \xe2\x81\xa6") == "? ? ? ?");  // NEL, RLO, LS, LRI
  CHECK(printable("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80") == "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
  // Bytes that are no UTF-8: stray, cut off, overlong, a surrogate, beyond the last code point.
  CHECK(printable("\x80 \xc3 \xc0\xaf \xe0\x80\x80") == "? ? ?? ???");
  CHECK(printable("\xed\xa0\x80 \xf4\x90\x80\x80 \xff") == "??? ???? ?");
  CHECK(text_width(printable("\xc3\xa9\xe2\x82\xac"
                             "a")) == 3);
  CHECK(cut("abcdefgh", 8) == "abcdefgh");
  CHECK(cut("abcdefghi", 8) == "abcde...");
  CHECK(cut("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 4) == "\xc3\xa9...");
}

TEST_CASE("CSV quotes what must be quoted and reads back") {
  CHECK(csv_cell("plain") == "plain");
  CHECK(csv_cell("") == "");
  CHECK(csv_cell("a,b") == "\"a,b\"");
  CHECK(csv_cell("say \"x\"") == "\"say \"\"x\"\"\"");
  CHECK(csv_cell("two\nlines") == "\"two\nlines\"");
  CHECK(csv_cell(" edge") == "\" edge\"");
  CHECK(csv_cell("accuracy/(16,64]") == "\"accuracy/(16,64]\"");
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    const std::string characters = "ab,\"\n\r x'";  // no formula signs: those are changed on purpose
    Table table{{{"x"}, {"y"}}, {}};
    for (std::uint32_t r = random() % 4; r > 0; --r) {
      std::vector<std::string> row(2);
      for (std::string& cell : row) {
        cell = "a";
        for (std::uint32_t i = random() % 6; i > 0; --i) cell += characters[random() % characters.size()];
      }
      table.rows.push_back(row);
    }
    CAPTURE(seed);
    std::vector<std::vector<std::string>> expected = {{"x", "y"}};
    expected.insert(expected.end(), table.rows.begin(), table.rows.end());
    CHECK(read_csv(csv_table(table)) == expected);
  }
}

TEST_CASE("CSV cells that a spreadsheet would run are made text; numbers stay numbers") {
  for (const char* number : {"-1", "+1", "-0.5", "1e-5", "-1.5e+300", "+.5", "-inf", "0"})
    CHECK(csv_cell(number) == number);
  for (const char* bad :
       {"=1+1", "+cmd", "-2+3", "@SUM(A1)", "=cmd|' /C calc'!A0", "+-1", "--1", "-", "+", "=", "-1 "}) {
    CAPTURE(bad);
    const std::string cell = csv_cell(bad);
    CHECK((cell == "'" + std::string(bad) || cell == "\"'" + std::string(bad) + "\""));
  }
  CHECK(csv_cell("\tx") == "'\tx");
  CHECK(csv_cell("\r=x") == "\"'\r=x\"");
  CHECK(csv_cell("=a,b") == "\"'=a,b\"");
  CHECK(csv_cell("a=b") == "a=b");
}
