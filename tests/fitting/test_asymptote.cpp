// The asymptote test: its parts, its verdicts, its errors; its level and power by simulation [slow].
#include "fitting/asymptote.hpp"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fitting/distributions.hpp"
#include "fitting/parallel.hpp"
#include "fitting/simulate_curves.hpp"
#include "tests/catch.hpp"

using namespace hylas::fitting;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Four designs (windows 4 to 32, D50 growing by window^0.2), three seeds, twelve evaluations of 128 positions up to
// `longest` D50 of the slowest design. A is 0.9; that of window 8 is lower by `drop`.
std::vector<CurveRun> study(std::uint64_t seed, std::uint64_t repetition, double longest, double drop) {
  Stream stream(seed, repetition);
  std::vector<CurveRun> runs;
  const auto mu = [](double w) { return 13 + 0.2 * std::log(w / 11.3); };
  for (const int w : {4, 8, 16, 32}) {
    for (int s = 0; s < 3; ++s) {
      CurveRun run;
      run.design = "swa:" + std::to_string(w);
      run.seed = s;
      run.x = {1e5, static_cast<double>(w), 0.5, 0, 0, {}};
      for (int e = 0; e < 12; ++e) run.tokens.push_back(std::exp(12 + (mu(32) + std::log(longest) - 12) * e / 11));
      run.accuracy.assign(12, 0);
      run.count.assign(12, 128);
      runs.push_back(simulate_curve(std::move(run), mu(w), {0.05, 0.9 - (w == 8 ? drop : 0), 8, 0.2, 60}, stream));
    }
  }
  return runs;
}

AsymptoteOptions options_with(int replicates, int threads = 1) {
  AsymptoteOptions options;
  options.terms = {"ln_window"};
  options.replicates = replicates;
  options.threads = threads;
  return options;
}

}  // namespace

TEST_CASE("noncentral chi-squared and chi-squared quantiles equal scipy's") {
  CHECK(noncentral_chi_squared_survival(7.8147, 3, 10.9) == Approx(0.7998986324844882).epsilon(1e-10));
  CHECK(noncentral_chi_squared_survival(3.84, 1, 7.85) == Approx(0.8001610939114071).epsilon(1e-10));
  CHECK(noncentral_chi_squared_survival(20, 5, 2.5) == Approx(0.015168038063419702).epsilon(1e-10));
  CHECK(noncentral_chi_squared_survival(40, 8, 100) == Approx(0.9999804960561685).epsilon(1e-10));
  CHECK(noncentral_chi_squared_survival(5, 2, 0) == Approx(std::exp(-2.5)).epsilon(1e-12));
  CHECK(chi_squared_quantile(0.05, 1) == Approx(3.8414588206941285).epsilon(1e-11));
  CHECK(chi_squared_quantile(0.05, 3) == Approx(7.814727903251178).epsilon(1e-11));
  CHECK(chi_squared_quantile(0.01, 7) == Approx(18.475306906582365).epsilon(1e-11));
}

TEST_CASE("draws of gamma, beta and binomial variables have the right mean and variance") {
  constexpr int draws = 20000;
  const auto moments = [](auto draw) {
    Stream stream(3, 1);
    double sum = 0, square = 0;
    for (int i = 0; i < draws; ++i) {
      const double x = draw(stream);
      sum += x;
      square += x * x;
    }
    return std::pair{sum / draws, square / draws - sum / draws * (sum / draws)};
  };
  for (const double shape : {0.3, 1.0, 40.0}) {
    const auto [mean, variance] = moments([&](Stream& s) { return std::exp(draw_log_gamma(shape, s)); });
    CHECK(mean == Approx(shape).margin(5 * std::sqrt(shape / draws)));  // five standard errors of a mean
    CHECK(variance == Approx(shape).epsilon(0.15));
  }
  const auto [beta, spread] = moments([](Stream& s) { return draw_beta(0.6, 2.4, s); });
  CHECK(beta == Approx(0.2).margin(5 * std::sqrt(0.04 / draws)));
  CHECK(spread == Approx(0.04).epsilon(0.05));
  for (const double n : {7.0, 140.0, 100001.0}) {
    for (const double p : {0.03, 0.5, 0.97}) {
      const auto [mean, variance] = moments([&](Stream& s) { return draw_binomial(n, p, s); });
      CHECK(mean == Approx(n * p).margin(5 * std::sqrt(n * p * (1 - p) / draws)));
      CHECK(variance == Approx(n * p * (1 - p)).epsilon(0.08));
    }
  }
  Stream stream(4, 4);
  CHECK(draw_binomial(200, 0, stream) == 0);
  CHECK(draw_binomial(200, 1, stream) == 200);
}

TEST_CASE("saturating studies: a common plateau is not called different, a plateau of its own is found") {
  const AsymptoteTest same = test_common_asymptote(study(1, 0, 5, 0), options_with(19));
  INFO(to_text(same));
  CHECK(same.verdict == AsymptoteVerdict::no_difference_seen);
  CHECK(has(same.words, "no difference seen"));
  CHECK_FALSE(same.bootstrapped);
  CHECK(same.degrees == 3);
  CHECK(same.shared.fit.parameter("A").estimate == Approx(0.9).margin(0.02));
  CHECK(same.p == Approx(chi_squared_survival(same.statistic, 3)));
  // AIC and BIC of both: three more coordinates, twelve runs.
  CHECK(same.separate.aic - same.shared.fit.aic == Approx(6 - same.statistic).margin(1e-5));
  CHECK(same.separate.bic - same.shared.fit.bic == Approx(3 * std::log(12.0) - same.statistic).margin(1e-5));
  CHECK(same.smallest_difference > 0.02);
  CHECK(same.smallest_difference < 0.08);

  const AsymptoteTest apart = test_common_asymptote(study(1, 0, 5, 0.2), options_with(19));
  INFO(to_text(apart));
  CHECK(apart.verdict == AsymptoteVerdict::differ);
  CHECK(has(apart.words, "differ: p"));
  CHECK(apart.p < 1e-6);
  REQUIRE(apart.designs.size() == 4);
  CHECK(apart.designs[3].design == "swa:8");
  CHECK(apart.designs[3].estimate == Approx(0.7).margin(0.05));
  CHECK(apart.designs[0].estimate == Approx(0.9).margin(0.04));
  CHECK(apart.separate.aic < apart.shared.fit.aic);
  CHECK(apart.designs[3].runs == 3);
}

TEST_CASE("floors of their own change nothing where the floors are one") {
  AsymptoteOptions options = options_with(19);
  options.floors_by_design = true;
  const AsymptoteTest test = test_common_asymptote(study(1, 0, 5, 0), options);
  INFO(to_text(test));
  CHECK(test.separate.has("c0:swa:4"));
  CHECK(test.shared.fit.has("c0:swa:32"));
  CHECK(test.degrees == 3);
  CHECK(test.verdict == AsymptoteVerdict::no_difference_seen);
}

TEST_CASE("an unsaturated study is not identified, bootstrapped, and the same on any number of threads") {
  const auto runs = study(2, 0, 1.6, 0);
  const AsymptoteTest one = test_common_asymptote(runs, options_with(19, 1));
  const AsymptoteTest two = test_common_asymptote(runs, options_with(19, 2));
  INFO(to_text(one));
  CHECK(one.verdict == AsymptoteVerdict::not_identified);
  CHECK(has(one.words, "the longest run is under 3 D50 for swa:16 ("));
  CHECK(one.bootstrapped);
  CHECK(one.replicates + one.left_out == 19);
  CHECK(one.p == two.p);
  CHECK(one.statistic == two.statistic);
  CHECK(one.critical == two.critical);
  CHECK(one.null_statistics == two.null_statistics);
  const auto json = nlohmann::json::parse(to_json(one));
  CHECK(json.at("verdict") == "not_identified");
  CHECK(json.at("reference") == "parametric bootstrap");
  CHECK(json.at("separate").at("plateaus").size() == 4);
  CHECK(json.at("separate").at("plateaus")[0].at("saturates") == false);
  CHECK(json.at("power").contains("smallest_difference"));
  CHECK(json.at("shared").at("bic").is_number());
  CHECK(has(to_text(one), "too short"));
}

TEST_CASE("the asymptote test refuses what it cannot test, by name") {
  const auto message = [](const std::vector<CurveRun>& runs, const AsymptoteOptions& options) -> std::string {
    try {
      (void)test_common_asymptote(runs, options);
    } catch (const InputError& e) {
      return e.what();
    }
    return "no error";
  };
  auto runs = study(1, 0, 5, 0);
  CHECK(has(message(runs, options_with(5)), "5 bootstrap replicates"));
  CHECK(has(message({runs.begin(), runs.begin() + 3}, options_with(19)), "have one design"));
  auto twice = runs;
  twice[1].seed = 0;
  CHECK(has(message(twice, options_with(19)), "given twice"));
  AsymptoteOptions wrong = options_with(19);
  wrong.level = 1.5;
  CHECK(has(message(runs, wrong), "level is 1.5"));
  runs[2].design.clear();
  CHECK(has(message(runs, options_with(19)), "needs a design name"));
}

namespace {

struct Rejections {
  double share = 0, statistic = 0, smallest = 0;
  int left_out = 0, not_converged = 0;
};
Rejections reject(int repetitions, double longest, double drop, int replicates, AsymptoteReference reference) {
  std::vector<AsymptoteTest> tests(static_cast<std::size_t>(repetitions));
  parallel_for(repetitions, 0, [&](int r) {
    AsymptoteOptions options = options_with(replicates);
    options.seed = 1000 + static_cast<std::uint64_t>(r);
    options.reference = reference;
    tests[r] = test_common_asymptote(study(77, static_cast<std::uint64_t>(r), longest, drop), options);
  });
  Rejections result;
  for (const AsymptoteTest& test : tests) {
    result.share += (test.p <= test.level ? 1.0 : 0.0) / repetitions;
    result.statistic += test.statistic / repetitions;
    result.smallest += std::min(1.0, test.smallest_difference) / repetitions;
    result.left_out += test.left_out;
    result.not_converged += !test.shared.fit.converged || !test.separate.converged;
  }
  return result;
}

void print(const char* what, int repetitions, const Rejections& r) {
  std::printf(
      "asymptote, %s: %d repetitions, rejected %.3f, mean likelihood ratio %.3f, smallest difference %.4f, %d "
      "fits not converged, %d replicates left out\n",
      what, repetitions, r.share, r.statistic, r.smallest, r.not_converged, r.left_out);
  std::fflush(stdout);
}

}  // namespace

// A plain nested bootstrap. With 19 replicates the test rejects where the statistic is above all of them, which has the
// level 1 / 20 whenever replicates and statistic are drawn alike: it shows the level as well as 199 do, at a tenth of
// the time, with less power.
TEST_CASE("level of the asymptote test: 3 to 7% at nominal 5%, saturating (chi-squared) and not (bootstrap)",
          "[slow]") {
  const Rejections saturated = reject(1000, 5, 0, 19, AsymptoteReference::automatic);
  print("null, every design saturates, chi-squared", 1000, saturated);
  CHECK(saturated.share >= 0.03);
  CHECK(saturated.share <= 0.07);
  const Rejections short_runs = reject(1000, 1.6, 0, 19, AsymptoteReference::automatic);
  print("null, longest run 1.6 D50 of the slowest, nested bootstrap of 19", 1000, short_runs);
  CHECK(short_runs.share >= 0.03);
  CHECK(short_runs.share <= 0.07);
  CHECK(short_runs.left_out < 200);  // 1% of the replicates
}

TEST_CASE("power of the asymptote test is about the stated one", "[slow]") {
  const double difference = reject(50, 5, 0, 19, AsymptoteReference::automatic).smallest;
  const Rejections saturated = reject(400, 5, difference, 19, AsymptoteReference::automatic);
  print("one design off by the smallest difference of the null (80% stated), chi-squared", 400, saturated);
  CHECK(saturated.share >= 0.70);  // stated for the weakest design at the null's own A; this design is not the weakest
  CHECK(saturated.share <= 0.95);
  const double further = reject(20, 1.6, 0, 99, AsymptoteReference::automatic).smallest;
  const Rejections short_runs = reject(80, 1.6, further, 99, AsymptoteReference::automatic);
  print("the same, longest run 1.6 D50, bootstrap of 99", 80, short_runs);
  CHECK(short_runs.share >= 0.60);
}
