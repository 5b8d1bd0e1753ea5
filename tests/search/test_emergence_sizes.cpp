// Depth and width as terms of the law of emergence: of a study, and of a table.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fitting/dual2.hpp"
#include "fitting/random.hpp"
#include "search/advise/recommend.hpp"
#include "search/study/emergence_fit.hpp"
#include "search/study/emergence_predict.hpp"
#include "search/study/study_runs.hpp"
#include "tests/catch.hpp"
#include "tests/search/fit_table_support.hpp"
#include "tests/search/program.hpp"

using namespace hylas;
using namespace hylas::search;

namespace {

using Names = std::vector<std::string>;

// Depths 2, 4, 8 and widths 16, 32 and 64, each with and without NoPE, 3 seeds, evaluated every 8%:
// ln D50 = ln 3e5 - .40 ln(depth / 4) - .60 ln(width / 32) - .50 NoPE + N(0, .10^2).
StudyRuns study_of_sizes() {
  StudyRuns study;
  study.study.name = "sizes";
  study.metric = "accuracy/far";
  fitting::Stream stream(12, 0);
  for (const int pairs : {1, 2, 4}) {
    for (const int width : {16, 32, 64}) {
      for (const bool nope : {false, true}) {
        model::Shape shape;
        shape.d_model = shape.head_dim = width;
        shape.heads = shape.kv_heads = 1;
        shape.ffn = 3 * width, shape.vocab = 32, shape.context = 64;
        const std::string text = std::string("(swa:4 full") + (nope ? "/nope" : "") + ")*" + std::to_string(pairs);
        study.designs.push_back(model::Design::make(text, shape));
        for (int seed = 1; seed <= 3; ++seed) {
          const double at = std::log(3e5) - 0.40 * std::log(pairs / 2.0) - 0.60 * std::log(width / 32.0) -
                            (nope ? 0.50 : 0) + 0.10 * stream.normal();
          StudyRun run;
          run.design_id = study.designs.back().id();
          run.seed = seed;
          run.trial_key = run.design_id + "/" + std::to_string(seed);
          for (double d = 2e4; d < 8e6; d *= 1.08) {
            run.curve.push_back({std::llround(d), 0.02 + 0.96 * fitting::sigmoid(8 * (std::log(d) - at)), 500});
          }
          study.runs.push_back(run);
        }
      }
    }
  }
  return study;
}

}  // namespace

TEST_CASE("a study's data tell depth and width, and its covariates are what they were", "[fit]") {
  const EmergenceData data = emergence_data(study_of_sizes());
  REQUIRE(data.designs.size() == 18);
  for (const DataDesign& design : data.designs) {
    CHECK(design.x.depth == static_cast<double>(design.model->layout.layers.size()));
    CHECK(design.x.width == static_cast<double>(design.model->shape.d_model));
    Names indicators;
    for (const auto& [name, value] : design.x.indicators) indicators.push_back(name);
    CHECK(indicators == Names{"gdn", "mamba2", "lightning"});
  }
  // Nor do the terms that are used where none are named change: depth differs, and is no column.
  const auto fit = fit_emergence(data, {});
  for (const char* name : {"ln_depth", "ln_width"}) {
    CHECK(std::ranges::count(fit.columns.names, name) == 0);
    for (const auto& [dropped, why] : fit.columns.dropped) CHECK(dropped != name);
  }
}

// Three standard errors of a slope, from 54 runs of spread .10 over a range of ln 4 in three steps: .08; of NoPE .08.
TEST_CASE("a study of several depths and widths can be fitted by them, and predicted at others", "[fit]") {
  const EmergenceData data = emergence_data(study_of_sizes());
  EmergenceFitOptions options;
  options.terms = {"ln_depth", "ln_width", "nope"};
  options.cure = false;
  const auto fit = fit_emergence(data, options);
  CHECK(fit.columns.names == options.terms);
  CHECK(fit.fit.parameter("ln_depth").estimate == Approx(-0.40).margin(0.08));
  CHECK(fit.fit.parameter("ln_width").estimate == Approx(-0.60).margin(0.08));
  CHECK(fit.fit.parameter("nope").estimate == Approx(-0.50).margin(0.08));
  // Centred at the geometric means, 4 layers and 32.
  CHECK(fit.fit.parameter("intercept").estimate == Approx(std::log(3e5)).margin(0.06));
  const auto predicted = predict_designs(data, fit, {{{"depth", 8}, {"width", 128}, {"nope", 0}}}, 1);
  CHECK(predicted[0].d50.estimate == Approx(3e5 * std::pow(2, -0.40) * std::pow(4, -0.60)).epsilon(0.12));
  CHECK_THROWS_WITH(predict_designs(data, fit, {{{"depth", 8}, {"nope", 0}}}, 1),
                    Catch::Contains("--predict needs width="));
}

TEST_CASE("a table's columns of depth and width make the terms, and are missed by name", "[program][fit]") {
  using nlohmann::json;
  const test::TempDir dir;
  const auto table = test::emergence_csv({});  // with a column `depth`, 8 or 12
  dir.write("runs.csv", table);
  const auto slope = [&](const std::string& arguments, const std::string& name) {
    const auto run = test::run_program(dir, "fit emergence " + arguments + " --json");
    INFO(arguments << "\n" << run.err);
    REQUIRE(run.code == 0);
    const auto fit = json::parse(run.out);
    for (const auto& p : fit["parameters"]) {
      if (p["name"] == name) return p["estimate"].get<double>();
    }
    return std::nan("");
  };
  // Of two values, a slope in the depth is that in its logarithm but for the unit.
  const double plain = slope("--input runs.csv --terms ln_window,nope,depth", "depth");
  const double log = slope("--input runs.csv --terms ln_window,nope,ln_depth", "ln_depth");
  CHECK(log * std::log(12.0 / 8) == Approx(plain * 4).epsilon(1e-3));
  // Another name by --columns; a column called ln_depth is taken as it stands, without `depth`.
  auto renamed = table;
  renamed.replace(renamed.find("depth"), 5, "layers");
  dir.write("renamed.csv", renamed);
  CHECK(slope("--input renamed.csv --columns depth=layers --terms ln_window,nope,ln_depth", "ln_depth") ==
        Approx(log).epsilon(1e-9));
  renamed.replace(renamed.find("layers"), 6, "ln_depth");
  dir.write("own.csv", renamed);
  CHECK(slope("--input own.csv --terms ln_window,nope,ln_depth", "ln_depth") == Approx(plain).epsilon(1e-9));
  const auto missing = test::run_program(dir, "fit emergence --input runs.csv --terms nope,ln_width");
  CHECK(missing.code == 2);
  for (const char* part : {"no column 'width'", "the term ln_width needs it", "--columns width=COLUMN"}) {
    INFO(missing.err);
    CHECK(missing.err.find(part) != std::string::npos);
  }
}
