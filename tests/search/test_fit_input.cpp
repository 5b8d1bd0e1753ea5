// Tables that cannot be fitted: each gets one message that names file, line and column, exit 2, and nothing is written.
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/search/fit_table_support.hpp"
#include "tests/search/program.hpp"

using hylas::test::emergence_csv;
using hylas::test::run_program;
using hylas::test::TempDir;

namespace {

struct Case {
  std::string arguments;           // after `hylas fit`
  std::vector<std::string> words;  // that the message must hold
};

void check_refused(const TempDir& dir, const std::vector<Case>& cases) {
  const auto files = dir.files();
  for (const auto& [arguments, words] : cases) {
    const auto run = run_program(dir, "fit " + arguments);
    INFO("hylas fit " << arguments << "\n" << run.err);
    CHECK(run.code == 2);
    CHECK(run.out.empty());
    CHECK(run.err.rfind("hylas: ", 0) == 0);
    for (const auto& word : words) {
      INFO("must say: " << word);
      CHECK(run.err.find(word) != std::string::npos);
    }
  }
  CHECK(dir.files() == files);
}

// The table with the cell of a column in a line (the header is line 1) replaced.
std::string with_cell(const std::string& csv, std::size_t line, std::size_t column, const std::string& cell) {
  std::size_t at = 0;
  for (std::size_t i = 1; i < line; ++i) at = csv.find('\n', at) + 1;
  for (std::size_t j = 0; j < column; ++j) at = csv.find(',', at) + 1;
  return csv.substr(0, at) + cell + csv.substr(csv.find_first_of(",\n", at));
}

std::string without_column(const std::string& csv, std::size_t column) {
  std::string out;
  for (std::size_t at = 0; at < csv.size();) {
    const auto end = csv.find('\n', at);
    std::size_t from = at;
    for (std::size_t j = 0; j < column; ++j) from = csv.find(',', from) + 1;
    const auto to = csv.find_first_of(",\n", from);
    out += csv.substr(at, from - at) + csv.substr(to + 1, end - to - 1) + "\n";
    at = end + 1;
  }
  return out;
}

enum Column : std::size_t { design, seed, tokens, value, count, n, window, nope };

}  // namespace

TEST_CASE("a cell that cannot be is named by file, line and column", "[program][fit]") {
  const TempDir dir;
  (void)run_program(dir, "--version");  // makes stdout and stderr, so that files can be counted
  const auto csv = emergence_csv({});
  const auto file = [&](const std::string& name, Column column, const std::string& cell) {
    dir.write(name, with_cell(csv, 5, column, cell));
    return "emergence --input " + name;
  };
  check_refused(
      dir,
      {{file("a.csv", tokens, "0"), {"a.csv, line 5, column 'tokens'", "positive"}},
       {file("b.csv", tokens, "-3"), {"b.csv, line 5, column 'tokens'", "positive"}},
       {file("c.csv", n, "0"), {"c.csv, line 5, column 'N'", "positive"}},
       {file("d.csv", value, "1.2"), {"d.csv, line 5, column 'value'", "[0, 1]", "1.2"}},
       {file("e.csv", value, "-0.1"), {"e.csv, line 5, column 'value'", "[0, 1]"}},
       {file("f.csv", value, "nan"), {"f.csv, line 5, column 'value'", "finite"}},
       {file("g.csv", value, "inf"), {"g.csv, line 5, column 'value'", "finite"}},
       {file("h.csv", value, ""), {"h.csv, line 5, column 'value'", "empty"}},
       {file("i.csv", value, "high"), {"i.csv, line 5, column 'value'", "not a number", "high"}},
       {file("j.csv", seed, "1.5"), {"j.csv, line 5, column 'seed'", "whole"}},
       {file("k.csv", window, "-1"), {"k.csv, line 5, column 'window'"}},
       {file("l.csv", nope, "2"), {"l.csv, line 5, column 'nope'", "[0, 1]"}},
       {file("m.csv", window, "64"), {"m.csv, line 5, column 'window'", "w128-rope-N15e6", "seed 1", "line 2", "128"}},
       {file("n.csv", tokens, "500000000"), {"n.csv, line 5, column 'tokens'", "w128-rope-N15e6", "seed 1", "line 2"}},
       {file("o.csv", count, "0") + " --law F1", {"o.csv, line 5, column 'count'", "positive"}}});
}

TEST_CASE("a table that lacks something says what", "[program][fit]") {
  const TempDir dir;
  (void)run_program(dir, "--version");
  const auto csv = emergence_csv({});
  const auto head = csv.substr(0, csv.find('\n') + 1);
  const auto row = csv.substr(head.size(), csv.find('\n', head.size()) - head.size());
  dir.write("runs.csv", csv);
  dir.write("empty.csv", "");
  dir.write("header.csv", head);
  dir.write("short.csv", csv + "w128-rope-N15e6,1,9000\n");
  dir.write("long.csv", csv + row + ",7\n");
  dir.write("averaged.csv", without_column(csv, seed));
  dir.write("no_tokens.csv", without_column(csv, tokens));
  dir.write("no_count.csv", without_column(csv, count));
  dir.write("flat.csv", "design,seed,tokens,value\na,1,1,0.1\na,1,2,0.1\nb,1,1,0.1\nb,1,2,0.1\n");
  dir.write("early.csv", "design,seed,tokens,value\na,1,1,0.9\na,1,2,0.9\nb,1,1,0.9\nb,1,2,0.9\n");
  dir.write("one_run.csv", "design,seed,tokens,value\na,1,1,0.1\na,1,2,0.9\na,1,3,0.9\n");
  dir.write("once.csv", "design,seed,tokens,value\na,1,1,0.1\nb,1,1,0.9\nc,1,1,0.3\n");
  dir.write("runs.txt", csv);
  dir.write("bad.jsonl",
            "{\"design\": \"a\", \"seed\": 1, \"tokens\": 1, \"value\": 0.1}\n{\"design\": \"a\", "
            "\"seed\": 1, \"value\": 0.1}\n");
  check_refused(dir, {{"emergence --input empty.csv", {"empty.csv", "header"}},
                      {"emergence --input header.csv", {"header.csv", "no rows"}},
                      {"emergence --input missing.csv", {"missing.csv"}},
                      {"emergence --input runs.txt", {".csv, .tsv or .jsonl"}},
                      {"emergence --input short.csv", {"short.csv, line 914", "'value' is missing"}},
                      {"emergence --input long.csv", {"long.csv, line 914", "10 fields"}},
                      {"emergence --input bad.jsonl", {"bad.jsonl, line 2", "'tokens' is missing"}},
                      {"emergence --input averaged.csv", {"averaged.csv", "'seed'", "mean over seeds"}},
                      {"emergence --input no_tokens.csv", {"no_tokens.csv", "'tokens'", "--columns"}},
                      {"emergence --input no_count.csv --law F1", {"no_count.csv", "'count'"}},
                      {"emergence --input flat.csv", {"none of the 2 runs emerged"}},
                      {"emergence --input early.csv", {"first evaluation"}},
                      {"emergence --input one_run.csv", {"1 runs", "parameters"}},
                      {"emergence --input once.csv", {"once.csv, line 2", "two"}}});
  CHECK(run_program(dir, "fit emergence --input no_count.csv").code == 0);  // F3 needs no counts
}

TEST_CASE("names that are not there get the nearest one that is", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", emergence_csv({}));
  (void)run_program(dir, "--version");
  const std::string input = "emergence --input runs.csv ";
  check_refused(dir, {{input + "--columns value=valu", {"runs.csv", "'valu'", "did you mean 'value'"}},
                      {input + "--columns valu=value", {"--columns", "did you mean 'value'"}},
                      {input + "--columns value", {"NAME=VALUE"}},
                      {input + "--columns seed=seed,seed=design", {"twice"}},
                      {input + "--law F9", {"F9", "F1, F3"}},
                      {input + "--law F2", {"fit loss --law efficiency"}},
                      {input + "--terms ln_windw", {"did you mean 'ln_window'"}},
                      {input + "--cure-terms nop", {"did you mean 'nope'"}},
                      {input + "--terms sink,nope", {"'sink'", "the same for every run"}},
                      {input + "--profile sigm", {"did you mean 'sigma'"}},
                      {input + "--predict windw=3", {"did you mean 'window'"}},
                      {input + "--predict window=128", {"--predict needs N"}},
                      {input + "--predict N=1e9,window=x,nope=0", {"--predict window", "'x'"}},
                      {input + "--predict N=-1,window=128,nope=0", {"N is -1"}},
                      {input + "--metric loss", {"--metric"}},
                      {input + "--no-cure --cure-terms nope", {"cure"}},
                      {input + "--holdout smallest:N", {"--holdout", "largest:N"}},
                      {input + "--holdout largest:N:2", {"2 largest sizes"}},
                      {input + "--holdout design=w128-rope-N31", {"did you mean 'w128-rope-N31e6'"}},
                      {input + "--holdout window=77", {"77", "128, 512"}},
                      {input + "--holdout largest:N --law F1", {"F3"}},
                      {input + "--terms nope --against nope", {"these are the fitted terms"}},
                      {input + "--against nop", {"did you mean 'nope'"}},
                      {input + "--against none --law F1", {"F3"}},
                      {input + "--db x.db", {"--db and --input"}},
                      {input + "--study x", {"--study"}},
                      {"emergence", {"--db", "--input"}},
                      {"emergence --columns value=v --db x.db", {"--input"}},
                      {"emergense --input runs.csv", {"emergence"}}});
}
