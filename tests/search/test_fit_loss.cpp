// hylas fit loss as its users call it: laws with columns of their own, rows of a store, predictions of a table's rows,
// held-out rows, and what bad input is told.
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "fitting/random.hpp"
#include "tests/catch.hpp"
#include "tests/search/program.hpp"

using hylas::test::run_program;
using hylas::test::TempDir;
using nlohmann::json;

namespace {

// Loss by N, D and window: a window of 8 w needs 8^0.2 times the tokens.
std::string by_window(double noise) {
  hylas::fitting::Stream stream(6, 0);
  std::string csv = "params,tokens,loss,w\n";
  for (const double n : {1e7, 3e7, 1e8, 3e8, 1e9}) {
    for (const double d : {2e8, 1e9, 5e9, 2e10}) {
      for (const double w : {128.0, 1024.0}) {
        const double worth = d * std::pow(w / 128, -0.2);
        const double loss = (1.69 + 406.4 * std::pow(n, -0.34) + 410.7 * std::pow(worth, -0.28)) *
                            std::exp(noise > 0 ? noise * stream.normal() : 0);
        csv += json(n).dump() + "," + json(d).dump() + "," + json(loss).dump() + "," + json(w).dump() + "\n";
      }
    }
  }
  return csv;
}

constexpr auto columns = " --columns N=params,D=tokens,window=w ", sizes = " --columns N=params,D=tokens ";

json fit_of(const TempDir& dir, const std::string& arguments) {
  const auto run = run_program(dir, "fit loss " + arguments + " --json");
  INFO(arguments << "\n" << run.err);
  REQUIRE(run.code == 0);
  return json::parse(run.out);
}

json parameter(const json& fit, const std::string& name) {
  for (const auto& p : fit["parameters"]) {
    if (p["name"] == name) return p;
  }
  FAIL("no parameter " << name);
  return {};
}

}  // namespace

TEST_CASE("fit loss --law efficiency finds what a window costs in tokens, with every kind of interval",
          "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", by_window(0.003));
  for (const std::string intervals : {"bootstrap", "parametric", "sandwich"}) {
    INFO(intervals);
    const auto fit =
        fit_of(dir, "--input runs.csv --law efficiency --bootstrap 200 --intervals " + intervals + columns);
    const auto slope = parameter(fit, "ln_window");
    CHECK(slope["ci90"][0].get<double>() < 0.2);
    CHECK(slope["ci90"][1].get<double>() > 0.2);
    CHECK(slope["ci90"][1].get<double>() - slope["ci90"][0].get<double>() < 0.1);
    CHECK(slope["standard_error"].get<double>() > 0);
    CHECK(slope["identified"] == true);
    CHECK(fit["starts_agreeing"].get<int>() >= 2);
  }
}

TEST_CASE("fit loss holds out sizes or windows, and predicts every row of a table", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", by_window(0.003));
  const auto fit = fit_of(dir, std::string("--input runs.csv --law efficiency --bootstrap 200 --holdout largest:N ") +
                                   "--predict N=1e9,D=2e10,window=1024 --predict-input runs.csv" + columns);
  CHECK(fit["holdout"]["rows"] == 8);
  CHECK(fit["holdout"]["rmse_log"].get<double>() < 0.01);  // noise .003
  CHECK(fit["holdout"]["coverage"].get<double>() >= 0.5);  // 8 rows at .90: below 5 of 8 has probability .004
  REQUIRE(fit["predictions"].size() == 40);
  CHECK(fit["predictions"][39]["line"] == 41);
  CHECK(fit["predictions"][39]["loss"] == fit["prediction"]["loss"]);  // the same row
  const auto one_window = fit_of(dir, std::string("--input runs.csv --bootstrap 0 --holdout w=1024") + sizes);
  CHECK(one_window["holdout"]["rows"] == 20);
  CHECK(one_window["points"] == 20);
}

TEST_CASE("fit loss reads a study's runs, by run, like their table", "[program][fit]") {
  const TempDir dir;
  std::string space = R"([study]
name = "sizes"
[shape]
d_model = 8
heads = 1
ffn = 16
context = 16
[space]
patterns = ["(swa:{w} full)*1"]
[axes]
w = [2, 4]
[task]
name = "recall"
keys = 4
values = 4
[recipe]
steps = 60
batch = 8
seeds = 3
learning_rate = 1e-2
[recipe.eval]
sequences = 32
)";
  dir.write("sizes.toml", space);
  REQUIRE(run_program(dir, "sweep sizes.toml --db s.db").code == 0);
  // One size and one length: no law of both can be fitted, and the refusal says which column does not vary.
  const auto refused = run_program(dir, "fit loss --db s.db");
  CHECK(refused.code == 2);
  CHECK(refused.err.find("constant column") != std::string::npos);
  const auto fit = fit_of(dir, "--db s.db --every-evaluation --law bnsl --set breaks=0 --bootstrap 50");
  CHECK(fit["runs"] == 6);
  CHECK(fit["points"].get<int>() > 12);
  CHECK(fit["interval_method"].get<std::string>().find("by run") != std::string::npos);
}

TEST_CASE("fit loss takes the logarithm of a perplexity", "[program][fit]") {
  const TempDir dir;
  std::string csv = "N,D,loss\n";
  for (const double n : {1e7, 3e7, 1e8, 3e8}) {
    for (const double d : {2e8, 1e9, 5e9, 2e10}) {
      csv += json(n).dump() + "," + json(d).dump() + "," +
             json(std::exp(50 * std::pow(n, -0.3) + 80 * std::pow(d, -0.2))).dump() + "\n";
    }
  }
  dir.write("ppl.csv", csv);
  const auto fit = fit_of(dir, "--input ppl.csv --law two-power --perplexity --bootstrap 0");
  CHECK(parameter(fit, "alpha")["estimate"].get<double>() == Approx(0.3).epsilon(1e-6));
  CHECK(parameter(fit, "beta")["estimate"].get<double>() == Approx(0.2).epsilon(1e-6));
  const auto bounded = fit_of(dir, "--input ppl.csv --law two-power --perplexity --bootstrap 0 --bound alpha=0.1:0.25");
  CHECK(parameter(bounded, "alpha")["identified"] == false);
  CHECK(bounded["identified"] == false);
  const auto held = fit_of(dir, "--input ppl.csv --law two-power --perplexity --bootstrap 0 --fix beta=0.2");
  CHECK(parameter(held, "beta")["why"] == "held by the caller");
}

TEST_CASE("fit loss tells bad input what is wrong, where, and what to do", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", by_window(0));
  dir.write("short.csv", "N,D,loss\n1e7,1e9,3\n1e8,2e9\n");
  dir.write("negative.csv", "N,D,loss\n1e7,1e9,3\n-1e8,2e9,2.5\n");
  dir.write("nan.csv", "N,D,loss\n1e7,1e9,3\n1e8,nan,2.5\n");
  dir.write("few.csv", "N,D,loss\n1e7,1e9,3\n1e8,2e9,2.5\n2e8,3e9,2.4\n");
  dir.write("constant.csv", "N,D,loss\n1e7,1e9,3\n1e7,2e9,2.5\n1e7,3e9,2.4\n1e7,4e9,2.3\n1e7,5e9,2.2\n1e7,6e9,2.1\n");
  const std::string schedule = "step,lr,loss\n1,1,9\n2,1,8\n";
  dir.write("schedule.csv", schedule + "3,0.5,7\n4,0.2,6\n5,0.1,5.5\n6,0,5\n");
  dir.write("negative_lr.csv", schedule + "3,-1,7\n4,0.2,6\n5,0.1,5.5\n6,0,5\n");
  dir.write("low.csv", "N,D,loss\n1e7,1e9,3\n1e8,2e9,0.5\n");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "give one of them"},
      {"--input runs.csv --db x.db", "both given"},
      {"--input runs.csv --law chinchila", "did you mean 'chinchilla'"},
      {"--input runs.csv", "no column 'N'"},
      {"--input runs.csv --columns N=parms,D=tokens", "did you mean 'params'"},
      {"--input runs.csv --columns M=params", "'M' is none of"},
      {"--input short.csv", "line 3: 2 fields where the header has 3; column 'loss' is missing"},
      {"--input negative.csv", "line 3, column 'N': must be positive"},
      {"--input nan.csv", "line 3, column 'D': not a finite number"},
      {"--input few.csv", "3 points for 5 parameters"},
      {"--input constant.csv", "N is 10000000 at every point"},
      {"--input low.csv --perplexity", "point 2: the perplexity is 0.5"},
      {std::string("--input runs.csv --predict N=1e9") + sizes, "--predict needs D="},
      {std::string("--input runs.csv --predict N=-1,D=1e9") + sizes, "must be positive"},
      {std::string("--input runs.csv --holdout largest:Q") + sizes, "needs a column Q"},
      {std::string("--input runs.csv --holdout colour=red") + sizes, "no column 'colour'"},
      {std::string("--input runs.csv --set breaks=1") + sizes, "no setting 'breaks'"},
      {std::string("--input runs.csv --fix A=3") + sizes, "only together with"},
      {std::string("--input runs.csv --fix alpha=-1") + sizes, "outside what the law allows"},
      {std::string("--input runs.csv --bootstrap 1") + sizes, "at least 20, or 0"},
      {"--input schedule.csv --law annealing --bootstrap 0 --predict step=5,lr=1", "--predict-input"},
      {"--input negative_lr.csv --law annealing --bootstrap 0", "point 3: lr is -1"},
      {std::string("--input runs.csv --bound alpha=0.3") + sizes, "NAME=LOW:HIGH"},
      {std::string("--input runs.csv --columns N=params,D=tokens --law efficiency"), "no column tells designs apart"},
  };
  for (const auto& [arguments, part] : cases) {
    const auto run = run_program(dir, "fit loss " + arguments);
    INFO(arguments << "\n" << run.err);
    CHECK(run.code == 2);
    CHECK(run.out.empty());
    CHECK(run.err.find(part) != std::string::npos);
  }
}
