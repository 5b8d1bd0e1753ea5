// Columns of emergence laws by name: their values, their centres, what drops out, and what a fit finds of each.
#include <algorithm>
#include <cmath>
#include <map>

#include "fitting/covariates.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

using Names = std::vector<std::string>;

DesignCovariates design(double window, double nope, double depth, double width) {
  DesignCovariates x;
  x.parameters = 12 * depth * width * width;
  x.window = window;
  x.full_fraction = window > 0 ? 0.5 : 1;
  x.nope = nope;
  x.depth = depth;
  x.width = width;
  return x;
}

// Windows 4, 16, 64 and none, with and without NoPE, at two depths and two widths.
std::vector<DesignCovariates> designs() {
  std::vector<DesignCovariates> list;
  for (const double window : {4.0, 16.0, 64.0, 0.0}) {
    for (const double nope : {0.0, 1.0}) {
      for (const double depth : {4.0, 16.0}) {
        for (const double width : {32.0, 128.0}) list.push_back(design(window, nope, depth, width));
      }
    }
  }
  return list;
}

std::string why_dropped(const Columns& columns, const std::string& name) {
  for (const auto& [dropped, why] : columns.dropped) {
    if (dropped == name) return why;
  }
  return "";
}

std::string refusal(const std::vector<DesignCovariates>& runs, const Names& terms) {
  try {
    (void)choose_columns(runs, terms);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

// Centres: windows 16 over the designs that have one, depth 8, width 64.
TEST_CASE("columns: products with NoPE, depth and width have the values that their names say") {
  const Names terms = {"nope*no_swa", "nope*ln_window^2", "ln_depth", "ln_width"};
  const Columns columns = choose_columns(designs(), terms);
  REQUIRE(columns.names == terms);
  CHECK(columns.dropped.empty());
  const double ln2 = std::log(2.0), ln4 = std::log(4.0);
  const std::vector<std::pair<DesignCovariates, std::vector<double>>> cases = {
      {design(64, 1, 16, 32), {0, ln4 * ln4, ln2, -ln2}}, {design(4, 0.5, 8, 64), {0, 0.5 * ln4 * ln4, 0, 0}},
      {design(16, 1, 4, 128), {0, 0, -ln2, ln2}},         {design(64, 0, 8, 64), {0, 0, 0, 0}},
      {design(0, 1, 32, 64), {1, 0, 2 * ln2, 0}},         {design(0, 0.25, 8, 256), {0.25, 0, 0, 2 * ln2}},
      {design(0, 0, 2, 16), {0, 0, -2 * ln2, -2 * ln2}},
  };
  for (const auto& [x, expected] : cases) {
    const std::vector<double> row = row_of(columns, x);
    INFO("window " << x.window << " nope " << x.nope << " depth " << x.depth << " width " << x.width);
    REQUIRE(row.size() == expected.size());
    for (std::size_t j = 0; j < row.size(); ++j) CHECK(row[j] == Approx(expected[j]).margin(1e-12));
  }
}

TEST_CASE("columns: the new terms are used where they are asked for only") {
  const Names known = known_terms(), chosen = default_terms();
  for (const char* name : {"nope*no_swa", "nope*ln_window^2", "ln_depth", "ln_width"}) {
    INFO(name);
    CHECK(std::ranges::count(known, name) == 1);
    CHECK(std::ranges::count(chosen, name) == 0);
  }
}

TEST_CASE("columns: sizes and products that say nothing are dropped by name") {
  std::vector<DesignCovariates> one_size;
  for (const double window : {4.0, 64.0}) {
    for (const double nope : {0.0, 1.0}) one_size.push_back(design(window, nope, 8, 64));
  }
  const Columns flat = choose_columns(one_size, {"ln_depth", "ln_width", "nope*no_swa", "nope", "nope*ln_window^2"});
  CHECK(flat.names == Names{"nope"});
  for (const char* name : {"ln_depth", "ln_width", "nope*no_swa"}) {
    INFO(name);
    CHECK(why_dropped(flat, name) == "it is the same for every run");
  }
  // Windows 4 and 64 are equally far from their mean, 16.
  CHECK(why_dropped(flat, "nope*ln_window^2").find("combination") != std::string::npos);
  // N is 12 depth width^2 here: the third of the three is told by the others. Order decides which one goes.
  const Columns sizes = choose_columns(designs(), {"ln_N", "ln_depth", "ln_width"});
  CHECK(sizes.names == Names{"ln_N", "ln_depth"});
  CHECK(why_dropped(sizes, "ln_width").find("combination") != std::string::npos);
  // Without window layers everywhere, NoPE there is NoPE.
  std::vector<DesignCovariates> full = {design(0, 0, 8, 64), design(0, 1, 8, 64)};
  const Columns products = choose_columns(full, {"nope", "nope*no_swa"});
  CHECK(products.names == Names{"nope"});
  CHECK(why_dropped(products, "nope*no_swa").find("combination") != std::string::npos);
}

TEST_CASE("columns: depth and width must be told where a term needs them, by an indicator if need be") {
  auto runs = designs();
  runs[3].depth = runs[4].width = 0;
  CHECK(refusal(runs, {"ln_window", "nope"}) == "no error");  // not asked for, not missed
  CHECK(refusal(runs, {"ln_depth"}) == "the term ln_depth needs the depth (number of layers) of every design");
  CHECK(refusal(runs, {"ln_width"}) == "the term ln_width needs the width (d_model) of every design");
  runs[3].depth = -2;
  CHECK(refusal(runs, {"nope"}).find("depth -2") != std::string::npos);
  for (auto& x : runs) {
    x.indicators.emplace_back("ln_depth", std::log(std::abs(x.depth) + 1));
    x.depth = 0;
  }
  const Columns columns = choose_columns(runs, {"ln_depth"});
  REQUIRE(columns.names == Names{"ln_depth"});
  CHECK(row_of(columns, runs[0]) == std::vector<double>{std::log(5.0)});  // as it is, not centred
}

// 32 designs, 24 seeds each, spread .20: the coefficient of each term that was simulated is found within four standard
// errors, and these are small beside the coefficients.
TEST_CASE("F3 finds simulated effects of depth, width and of NoPE beside no window and wide windows") {
  const std::map<std::string, double> truth = {{"ln_window", 0.40},   {"nope", -0.50},
                                               {"no_swa", 0.30},      {"nope*ln_window", -0.20},
                                               {"nope*no_swa", 0.60}, {"nope*ln_window^2", 0.15},
                                               {"ln_depth", -0.35},   {"ln_width", -0.70}};
  const auto all = designs();
  EmergenceOptions options;
  options.terms.clear();
  for (const auto& [name, slope] : truth) options.terms.push_back(name);
  options.cure = false;
  options.sandwich = true;
  const Columns columns = choose_columns(all, options.terms);
  REQUIRE(columns.names == options.terms);
  Stream stream(91, 0);
  std::vector<EmergenceRun> runs;
  for (std::size_t i = 0; i < all.size(); ++i) {
    double mu = std::log(2e6);
    const std::vector<double> row = row_of(columns, all[i]);
    for (std::size_t j = 0; j < row.size(); ++j) mu += truth.at(columns.names[j]) * row[j];
    for (int seed = 0; seed < 24; ++seed) {
      const double cell = std::floor((mu + 0.20 * stream.normal()) / 0.05);
      EmergenceRun run;
      run.design = std::to_string(i);
      run.seed = seed;
      run.x = all[i];
      run.d_before = std::exp(cell * 0.05);
      run.d_after = std::exp((cell + 1) * 0.05);
      run.d_max = 1e9;
      runs.push_back(run);
    }
  }
  const EmergenceFit result = fit_emergence_time(runs, options);
  CHECK(result.fit.converged);
  for (const auto& [name, slope] : truth) {
    const Parameter& found = result.fit.parameter(name);
    INFO(name << " " << found.estimate << " +- " << found.standard_error);
    CHECK(found.standard_error < 0.05);
    CHECK(std::abs(found.estimate - slope) < 4 * found.standard_error);
  }
  CHECK(result.fit.parameter("sigma").estimate == Approx(0.20).epsilon(0.15));
}
