// hylas fit emergence on tables, as its users call it: what it finds, what it prints, and how a store and its export
// agree.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/search/fit_table_support.hpp"
#include "tests/search/program.hpp"

using hylas::test::emergence_csv;
using hylas::test::run_program;
using hylas::test::TempDir;
using nlohmann::json;

namespace {

json fit_of(const TempDir& dir, const std::string& arguments) {
  const auto run = run_program(dir, "fit emergence " + arguments + " --json");
  INFO(arguments << "\n" << run.err);
  REQUIRE(run.code == 0);
  return json::parse(run.out);
}

std::map<std::string, json> parameters(const json& fit) {
  std::map<std::string, json> found;
  for (const auto& p : fit["parameters"]) found[p["name"]] = p;
  return found;
}

}  // namespace

TEST_CASE("fit emergence finds the simulated slopes in a table, under either law", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", emergence_csv({}));
  for (const std::string law : {"F3", "F1"}) {
    const auto fit = fit_of(dir, "--input runs.csv --law " + law);
    INFO(law);
    CHECK(fit["law"] == law);
    CHECK(fit["runs"] == 24);
    CHECK(fit["converged"] == true);
    CHECK(fit["starts_agreeing"].get<int>() >= 2);
    const auto found = parameters(fit);
    // The table was made with .30, -.60 and a spread of .10. Three standard errors: of the slope, from the 12 runs
    // without NoPE, 3 * .10 / (.69 * sqrt(12)) = .13; of the shift, from all 24, 3 * .20 / sqrt(24) = .12.
    CHECK(found.at("ln_window")["estimate"].get<double>() == Approx(0.30).margin(0.13));
    CHECK(found.at("nope")["estimate"].get<double>() == Approx(-0.60).margin(0.12));
    for (const auto& [name, p] : found) {
      INFO(name);
      CHECK(p.contains("identified"));
      REQUIRE(p["ci90"].size() == 2);
      if (p["ci90"][0].is_number()) CHECK(p["ci90"][0] <= p["estimate"]);
      if (p["ci90"][1].is_number()) CHECK(p["ci90"][1] >= p["estimate"]);
    }
    CHECK(fit["dropped_terms"].contains("sink"));
    CHECK(fit["designs"].size() == 8);
    CHECK_FALSE(fit.contains("study"));
  }
}

// Proves that designs with recurrent mixers get their own shift without being asked for: the same table, its shift of
// -.60 named after a mixer.
TEST_CASE("the recurrent mixers in which designs differ are terms of the law", "[program][fit]") {
  const TempDir dir;
  std::string table = emergence_csv({});
  table.replace(table.find(",nope,"), 6, ",gdn,");
  dir.write("runs.csv", table);
  const auto found = parameters(fit_of(dir, "--input runs.csv"));
  REQUIRE(found.contains("gdn"));
  CHECK(found.at("gdn")["estimate"].get<double>() == Approx(-0.60).margin(0.12));
  CHECK_FALSE(found.contains("mamba2"));
  CHECK_FALSE(parameters(fit_of(dir, "--input runs.csv --terms ln_N,ln_window")).contains("gdn"));
}

TEST_CASE("rows may stand in any order, columns may have any name, and three formats read the same", "[program][fit]") {
  const TempDir dir;
  dir.write("a.csv", emergence_csv({}));
  dir.write("b.tsv", emergence_csv({.delimiter = '\t', .shuffled = true, .renamed = true}));
  dir.write("c.jsonl", emergence_csv({.jsonl = true}));
  const auto a = fit_of(dir, "--input a.csv");
  const auto b =
      fit_of(dir, "--input b.tsv --columns design=model,seed=s,tokens=D,value=acc,N=params,window=w,nope=np");
  const auto c = fit_of(dir, "--input c.jsonl");
  // The order of the runs may move the last bits of a sum, no more.
  CHECK(b["objective"].get<double>() == Approx(a["objective"].get<double>()).epsilon(1e-9));
  CHECK(c["objective"] == a["objective"]);
  CHECK(parameters(b).at("ln_window")["estimate"].get<double>() ==
        Approx(parameters(a).at("ln_window")["estimate"].get<double>()).epsilon(1e-6));
}

TEST_CASE("designs without a name are told apart by their covariates", "[program][fit]") {
  const TempDir dir;
  dir.write("named.csv", emergence_csv({}));
  dir.write("bare.csv", emergence_csv({.named = false}));
  const auto named = fit_of(dir, "--input named.csv"), bare = fit_of(dir, "--input bare.csv");
  CHECK(bare["objective"] == named["objective"]);
  CHECK(bare["designs"].size() == 8);
  CHECK(bare["designs"][0]["design"].get<std::string>().find("window=") != std::string::npos);
}

TEST_CASE("the options of fit emergence do what they say", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", emergence_csv({}));
  const auto whole = fit_of(dir, "--input runs.csv");
  const auto no_cure = fit_of(dir, "--input runs.csv --no-cure --terms ln_N,ln_window,nope");
  CHECK(parameters(no_cure).count("pi") == 0);
  CHECK(parameters(no_cure).size() == 5);  // with intercept and sigma
  CHECK(parameters(fit_of(dir, "--input runs.csv --cure-terms nope")).count("pi:nope") == 1);
  const auto wide = fit_of(dir, "--input runs.csv --level 0.99 --profile ln_window");
  const auto p99 = parameters(wide).at("ln_window"), p90 = parameters(whole).at("ln_window");
  CHECK(p99["ci99"][0] < p90["ci90"][0]);
  CHECK(p99["ci99"][1] > p90["ci90"][1]);
  CHECK(parameters(wide).at("nope")["ci99"][0].is_null());  // not asked for
  // A lower threshold is crossed no later, run by run.
  const auto low = fit_of(dir, "--input runs.csv --threshold 0.3");
  CHECK(parameters(low).at("intercept")["estimate"] < parameters(whole).at("intercept")["estimate"]);
  CHECK(parameters(fit_of(dir, "--input runs.csv --terms none --no-cure")).size() == 2);  // intercept and sigma
  // Quick intervals are of the same size as profiles, and are not profiles.
  const auto quick = fit_of(dir, "--input runs.csv --sandwich");
  CHECK(quick["interval_method"].get<std::string>().find("sandwich") != std::string::npos);
  const auto width = [](const json& p) { return p["ci90"][1].get<double>() - p["ci90"][0].get<double>(); };
  CHECK(width(parameters(quick).at("ln_window")) == Approx(width(p90)).epsilon(0.5));
  CHECK(parameters(quick).at("ln_window")["ci90"] != p90["ci90"]);
  // A column of the table can be a term of the law.
  CHECK(parameters(fit_of(dir, "--input runs.csv --terms ln_window,nope,depth")).count("depth") == 1);
}

TEST_CASE("D50 is predicted at designs that were not run", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", emergence_csv({}));
  const auto fit = fit_of(dir,
                          "--input runs.csv --terms ln_N,ln_window,nope --predict N=31e6,window=256,nope=0 "
                          "--predict N=31e6,window=512,nope=1 --predict N=31e6,window=4096,nope=0");
  REQUIRE(fit["predictions"].size() == 3);
  const auto d50 = fit["predictions"][0]["d50"];
  const double truth = 5e9 * std::pow(256 / 128.0, 0.30);
  CHECK(d50["ci_low"].get<double>() < truth);
  CHECK(d50["ci_high"].get<double>() > truth);
  CHECK(d50["run_low"].get<double>() < d50["ci_low"].get<double>());
  CHECK(fit["predictions"][0]["design"]["window"] == 256);
  CHECK(fit["predictions"][0]["warnings"].empty());
  CHECK(fit["predictions"][2]["warnings"][0].get<std::string>().find("outside") != std::string::npos);
  // The predicted D50 of a design that was run is the one of the table of designs.
  for (const auto& design : fit["designs"]) {
    if (design["design"] != "w512-nope-N31e6") continue;
    const auto& predicted = fit["predictions"][1]["d50"];
    CHECK(predicted["estimate"].get<double>() == Approx(design["d50"]["estimate"].get<double>()).epsilon(1e-9));
    CHECK(predicted["ci_low"].get<double>() == Approx(design["d50"]["ci_low"].get<double>()).epsilon(1e-6));
  }
  const auto text = run_program(dir, "fit emergence --input runs.csv --predict N=31e6,window=256,nope=0");
  CHECK(text.out.find("D50 at N=3.1e+07 window=256 nope=0: ") != std::string::npos);
}

TEST_CASE("hold-outs predict runs that were not fitted", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", emergence_csv({}));
  const std::string input = "--input runs.csv --terms ln_N,ln_window,nope ";
  const auto whole = fit_of(dir, input);
  for (const auto& [rule, runs] : std::map<std::string, std::size_t>{
           {"largest:N", 12}, {"window=512", 12}, {"design=w128-rope-N31e6", 3}, {"design", 24}, {"window", 24}}) {
    INFO(rule);
    const auto fit = fit_of(dir, input + "--holdout " + rule);
    CHECK(fit["holdout"]["rule"] == rule);
    CHECK(fit["holdout"]["runs"].size() == runs);
    CHECK(fit["parameters"] == whole["parameters"]);  // the fit itself is of all runs
    // A design's D50 follows from the others within the spread of seeds, .10 in ln D, and the errors of the slopes.
    if (rule == "design") CHECK(fit["holdout"]["median_error"].get<double>() < 0.08);
    for (const auto& run : fit["holdout"]["runs"]) CHECK(run["low"] < run["high"]);
  }
  CHECK(run_program(dir, "fit emergence " + input + "--holdout design").out.find("hold-out of 24 runs") !=
        std::string::npos);
}

TEST_CASE("terms are compared by likelihood ratio with smaller and larger sets", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", emergence_csv({}));
  const std::string input = "--input runs.csv --terms ln_N,ln_window,nope --simulations 99 ";
  const auto fit = fit_of(dir, input + "--against ln_N,nope --against ln_N,ln_window,nope,depth --against depth");
  const auto& ratios = fit["comparison"]["likelihood_ratios"];
  REQUIRE(ratios.size() == 3);
  // The window's effect is 8 standard errors (.30 / .03); depth has none.
  CHECK(ratios[0]["larger"] == false);
  CHECK(ratios[0]["added"] == json{"ln_window"});
  CHECK(ratios[0]["p"].get<double>() < 1e-6);
  CHECK(ratios[0]["p_bootstrap"].get<double>() == Approx(0.01));  // 1 of 1 + 99
  CHECK(ratios[1]["larger"] == true);
  CHECK(ratios[1]["added"] == json{"depth"});
  CHECK(ratios[1]["p"].get<double>() > 0.05);
  CHECK(ratios[2]["nested"] == false);
  const auto& models = fit["comparison"]["models"];
  REQUIRE(models.size() == 4);
  for (std::size_t i = 1; i < 4; ++i) CHECK(models[i - 1]["aic"] <= models[i]["aic"]);
  CHECK(models[3]["terms"] == "depth");
  // The ratio is of the log-likelihoods that are printed.
  CHECK(ratios[1]["statistic"].get<double>() ==
        Approx(2 * (models[0]["log_likelihood"].get<double>() - models[1]["log_likelihood"].get<double>()) *
               (models[0]["terms"] == "ln_N, ln_window, nope" ? -1 : 1))
            .margin(1e-9));
  const auto curves =
      fit_of(dir, "--input runs.csv --terms ln_N,ln_window,nope --law F1 --against ln_N,nope --simulations 0");
  CHECK(curves["comparison"]["likelihood_ratios"][0]["p"].get<double>() < 1e-6);
  const auto text = run_program(dir, "fit emergence " + input + "--against none").out;
  CHECK(text.find("the runs need ln_N, ln_window, nope") != std::string::npos);
}

TEST_CASE("curves that end on one plateau and curves that do not are told apart", "[program][fit]") {
  const TempDir dir;
  dir.write("even.csv", emergence_csv({}));
  dir.write("uneven.csv", emergence_csv({.uneven = true}));
  const std::string rest = " --terms ln_N,ln_window,nope --asymptote";
  const auto even = fit_of(dir, "--input even.csv" + rest)["asymptote"];
  const auto uneven = fit_of(dir, "--input uneven.csv" + rest)["asymptote"];
  CHECK(even["verdict"] == "no_difference_seen");
  CHECK(even["p"].get<double>() > 0.05);
  CHECK(uneven["verdict"] == "differ");
  CHECK(uneven["p"].get<double>() < 1e-3);
  REQUIRE(uneven["separate"]["plateaus"].size() == 8);
  for (const auto& plateau : uneven["separate"]["plateaus"]) {
    const auto design = plateau["design"].get<std::string>();
    INFO(design);
    // Accuracies are the curve's own, rounded to 1 in 500: several points on the plateau pin it to a hundredth.
    CHECK(plateau["A"].get<double>() == Approx(design.rfind("w512-nope", 0) == 0 ? 0.72 : 0.92).margin(0.01));
  }
  CHECK(run_program(dir, "fit emergence --input even.csv" + rest).out.find("no difference seen") != std::string::npos);
}

TEST_CASE("what hylas exports, fit emergence reads: the same law as from the store", "[program][fit]") {
  const TempDir dir;
  dir.write("tiny.toml", R"(
[study]
name = "tiny"
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
steps = 600
batch = 8
seeds = 3
learning_rate = 1e-2
[recipe.eval]
sequences = 32
)");
  REQUIRE(run_program(dir, "sweep tiny.toml --db t.db").code == 0);
  REQUIRE(run_program(dir, "export --db t.db -o points.csv").code == 0);
  const auto db = fit_of(dir, "--db t.db --no-store");
  const auto metric = db["metric"].get<std::string>();
  const auto table = fit_of(dir, "--input points.csv --metric '" + metric + "'");
  CHECK(table["objective"] == db["objective"]);
  CHECK(table["parameters"] == db["parameters"]);
  for (std::size_t i = 0; i < 2; ++i) CHECK(table["designs"][i]["d50"] == db["designs"][i]["d50"]);
  // Without a metric the choice is not guessed.
  const auto run = run_program(dir, "fit emergence --input points.csv");
  CHECK(run.code == 2);
  CHECK(run.err.find(metric) != std::string::npos);
}
