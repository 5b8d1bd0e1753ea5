// The table reader: formats, quoting, and errors that name row and column.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fitting/table.hpp"
#include "tests/catch.hpp"

using namespace hylas::fitting;

namespace {

Table csv(std::string_view text) {
  return Table::parse_delimited(text, ',', "t.csv");
}

template <class F>
std::string message(const F& f) {
  try {
    f();
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("CSV: quotes, doubled quotes, CRLF, BOM, blank lines, line breaks inside quotes") {
  const Table t = csv("\xEF\xBB\xBFname, N ,\"lo\"\"ss\"\r\n\"a,b\",1e9,2.5\r\n\r\n\"two\nlines\",3,-4\n");
  CHECK(t.names() == std::vector<std::string>{"name", "N", "lo\"ss"});
  CHECK(t.texts("name") == std::vector<std::string>{"a,b", "two\nlines"});
  CHECK(t.numbers("N") == std::vector<double>{1e9, 3});
  CHECK(t.line_of(1) == 4);
}

TEST_CASE("some rows of a table keep their lines, so that messages still point into the file") {
  const Table t = csv("name,N\na,1\nb,-2\nc,3\n").where({false, true, true});
  CHECK(t.texts("name") == std::vector<std::string>{"b", "c"});
  CHECK(t.line_of(1) == 4);
  CHECK(has(message([&] { (void)t.numbers("N", true); }), "t.csv, line 3, column 'N'"));
}

TEST_CASE("JSONL: numbers and strings, keys in any order, extra keys ignored") {
  const Table t = Table::parse_jsonl("{\"a\":1,\"b\":\"x\"}\n\n{\"b\":\"y\",\"a\":2.5e3,\"c\":0}\n", "t.jsonl");
  CHECK(t.numbers("a") == std::vector<double>{1, 2500});
  CHECK(t.texts("b") == std::vector<std::string>{"x", "y"});
}

TEST_CASE("errors name line and column and say what to do") {
  const auto missing = message([] { (void)csv("a,b,c\n1,2,3\n4,5\n"); });
  CHECK(has(missing, "t.csv, line 3"));
  CHECK(has(missing, "'c' is missing"));
  CHECK(has(message([] { (void)csv("a,b\n1,2,3\n"); }), "line 2: 3 fields where the header has 2"));
  const auto word = message([] { (void)csv("a,b\n1,2\n3,x4\n").numbers("b"); });
  CHECK(has(word, "line 3, column 'b': not a number ('x4')"));
  CHECK(has(message([] { (void)csv("a\n1\nnan\n").numbers("a"); }), "line 3, column 'a': not a finite number"));
  CHECK(has(message([] { (void)csv("a,b\n1,\n").numbers("b"); }), "the field is empty"));
  CHECK(has(message([] { (void)csv("a\n0\n").numbers("a", true); }), "must be positive"));
  CHECK(has(message([] { (void)csv("tokens,loss\n1,2\n").numbers("token"); }), "did you mean 'tokens'?"));
  CHECK(has(message([] { (void)csv("a,a\n1,2\n"); }), "given twice"));
  CHECK(has(message([] { (void)csv("a,\n1,2\n"); }), "column 2 has no name"));
  CHECK(has(message([] { (void)csv(""); }), "no header"));
  CHECK(has(message([] { (void)csv("a\n\"never closed\n"); }), "line 2: a quote is never closed"));
  CHECK(has(message([] { (void)Table::parse_jsonl("{\"a\":1}\n[2]\n", "t"); }), "line 2: not a JSON object"));
  CHECK(has(message([] { (void)Table::parse_jsonl("{\"a\":1}\n{\"a\":\n", "t"); }), "line 2: not a JSON object"));
  CHECK(has(message([] { (void)Table::parse_jsonl("{\"a\":1,\"b\":2}\n{\"a\":3}\n", "t"); }),
            "line 2: column 'b' is missing"));
  CHECK(has(message([] { (void)Table::read("/nonexistent/x.csv"); }), "cannot be read"));
}

TEST_CASE("files are read by extension") {
  const auto folder = std::filesystem::temp_directory_path() / ("hylas-table-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "a.tsv") << "x\ty\n1\t2\n";
  std::ofstream(folder / "a.txt") << "x\n1\n";
  CHECK(Table::read(folder / "a.tsv").numbers("y") == std::vector<double>{2});
  CHECK(has(message([&] { (void)Table::read(folder / "a.txt"); }), ".csv, .tsv or .jsonl"));
  std::filesystem::remove_all(folder);
}
