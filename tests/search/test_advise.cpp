// The recommender: closed form against brute force, the chance constraint, limits, fronts, draws, warnings, wording.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fitting/distributions.hpp"
#include "search/advise/compute_optimal.hpp"
#include "search/advise/recommend.hpp"
#include "tests/catch.hpp"
#include "tests/search/test_advise_support.hpp"

using namespace hylas;
using namespace hylas::search;
using namespace hylas::search::advise_testing;

TEST_CASE("compute-optimal size: the closed form is the least loss of a fine grid") {
  const fitting::ChinchillaLaw law{1.69, 406.4, 410.7, 0.34, 0.28};
  for (const double flops : {1e18, 1e21, 1e24}) {
    const SizeAndTokens best = compute_optimal(law, flops);
    double least = INFINITY, at = 0;
    for (double log_n = 5; log_n < 35; log_n += 1e-3) {
      const double loss = law.loss(std::exp(log_n), flops / 6 / std::exp(log_n));
      if (loss < least) {
        least = loss;
        at = log_n;
      }
    }
    INFO("C = " << flops);
    CHECK(std::log(best.n) == Approx(at).margin(1.1e-3));  // one grid step
    CHECK(best.loss <= least);
    CHECK(6 * best.n * best.d == Approx(flops).epsilon(1e-12));
    // The one-dimensional search with the cost 6N is the closed form; the loss is flat at its minimum, so 1e-6 in ln N.
    const SizeAndTokens search = compute_optimal(law, flops, [](double n) { return 6 * n; });
    CHECK(std::log(search.n) == Approx(std::log(best.n)).margin(1e-5));
  }
}

TEST_CASE("attention FLOPs make the optimal model smaller, and its first-order condition holds") {
  const fitting::ChinchillaLaw law{1.69, 406.4, 410.7, 0.34, 0.28};
  const auto cost = [](double n) { return 6 * n + 4e4 * std::pow(n, 2.0 / 3); };
  const SizeAndTokens best = compute_optimal(law, 1e21, cost);
  CHECK(best.n < compute_optimal(law, 1e21).n);
  // alpha A N^-alpha / eps_N = beta B D^-beta, eps_N = d ln cost / d ln N (MATHS 4)
  const double eps_n = (6 * best.n + 4e4 * 2.0 / 3 * std::pow(best.n, 2.0 / 3)) / cost(best.n);
  const double left = law.alpha * law.a * std::pow(best.n, -law.alpha) / eps_n;
  CHECK(left == Approx(law.beta * law.b * std::pow(best.d, -law.beta)).epsilon(1e-4));
  CHECK_THROWS_AS(compute_optimal(law, -1), std::invalid_argument);
}

TEST_CASE("one size: layouts are ranked, N* is said not to be identified, the text says Recommendation") {
  const Evidence evidence = one_size();
  const Advice advice = recommend(candidates(), evidence, request_for(3e12));
  REQUIRE(advice.recommended == 0);
  CHECK_FALSE(advice.size_identified);
  CHECK(has(advice.size.why, "1 size"));
  CHECK(has(advice.size.why, "at least three"));
  CHECK(std::ranges::any_of(advice.warnings, [](const auto& w) { return has(w, "N* is not identified"); }));
  const std::string text = to_text(advice);
  CHECK(text.starts_with("Recommendation: train "));
  CHECK(has(text, "N* is not identified"));
  const auto json = nlohmann::json::parse(to_json(advice));
  for (const char* key : {"recommendation", "candidates", "warnings", "identified", "size", "next_run", "request"}) {
    CHECK(json.contains(key));
  }
  CHECK(json["recommendation"]["layout"] == advice.candidates[0].layout);
  CHECK(json["identified"]["size"] == false);
  CHECK(json["identified"]["emergence"] == true);
  CHECK(json["candidates"].size() == advice.candidates.size());
  CHECK(json["size"]["n"].is_null());
  // Ranked by the compute at which the chance constraint is met.
  for (std::size_t i = 1; i < advice.candidates.size(); ++i) {
    const auto &a = advice.candidates[i - 1], &b = advice.candidates[i];
    if (a.feasible && b.feasible) CHECK(a.flops_needed <= b.flops_needed);
    CHECK(a.feasible >= b.feasible);
  }
}

TEST_CASE("the chance of emergence is the formula's, and what is needed for it meets the constraint exactly") {
  const Evidence evidence = one_size();
  const Request request = request_for(2e11);
  for (const CandidateAdvice& a : recommend(candidates(), evidence, request).candidates) {
    const double z = (std::log(a.tokens) - std::log(a.d50.estimate)) / a.d50.sd_total;
    CHECK(a.probability == Approx(a.d50.pi * fitting::normal_cdf(z)).epsilon(1e-12));
    CHECK(a.feasible == (a.probability >= 0.9));
    CHECK(a.feasible == a.reason.empty());
    Request exact = request;
    exact.flops = a.flops_needed;
    const Advice again = recommend(candidates(), evidence, exact);
    const auto same = std::ranges::find(again.candidates, a.design_id, &CandidateAdvice::design_id);
    CHECK(same->probability == Approx(0.9).epsilon(1e-9));
  }
}

TEST_CASE("more budget never makes emergence less likely nor a design infeasible") {
  const Evidence evidence = one_size();
  std::vector<double> before(candidates().size(), 0);
  int feasible_before = 0;
  for (double flops = 1e10; flops < 1e14; flops *= 1.7) {
    const Advice advice = recommend(candidates(), evidence, request_for(flops));
    int feasible = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
      const auto id = candidates()[i].design.id();
      const auto at = std::ranges::find(advice.candidates, id, &CandidateAdvice::design_id);
      CHECK(at->probability >= before[i]);
      before[i] = at->probability;
      feasible += at->feasible;
    }
    CHECK(feasible >= feasible_before);
    feasible_before = feasible;
  }
  CHECK(feasible_before == static_cast<int>(before.size()));
}

TEST_CASE("a hopeless budget recommends nothing and says what would be needed") {
  const Advice advice = recommend(candidates(), one_size(), request_for(1e9));
  CHECK(advice.recommended == -1);
  CHECK(has(advice.headline, "no candidate meets the constraints"));
  CHECK(std::ranges::any_of(advice.reasons, [](const auto& r) { return has(r, "would need about"); }));
  CHECK(has(to_text(advice), "Recommendation"));
  CHECK(nlohmann::json::parse(to_json(advice))["recommendation"].is_null());
}

TEST_CASE("cache and memory limits exclude designs by name of the limit") {
  const Evidence evidence = one_size();
  Request request = request_for(1e13);
  double least = INFINITY, most = 0;
  for (const auto& a : recommend(candidates(), evidence, request).candidates) {
    least = std::min(least, a.cache_bytes);
    most = std::max(most, a.cache_bytes);
  }
  REQUIRE(least < most);
  request.cache_limit = 0.5 * (least + most);
  for (const auto& a : recommend(candidates(), evidence, request).candidates) {
    CHECK(a.feasible == (a.cache_bytes <= *request.cache_limit));
    if (!a.feasible) CHECK(has(a.reason, "cache"));
    if (!a.feasible) CHECK(a.win_rate == 0);
  }
  request.cache_limit.reset();
  request.memory_limit = 1;
  const Advice none = recommend(candidates(), evidence, request);
  CHECK(none.recommended == -1);
  CHECK(has(none.candidates[0].reason, "weights and caches"));
}

TEST_CASE("fronts: no feasible design dominates one of the first front, and each later one is dominated") {
  const Advice advice = recommend(candidates(), one_size(), request_for(1e13));
  const auto dominates = [](const CandidateAdvice& a, const CandidateAdvice& b) {
    const bool no_worse = a.flops_per_token <= b.flops_per_token && a.cache_bytes <= b.cache_bytes &&
                          a.d50.estimate <= b.d50.estimate && a.probability >= b.probability;
    return no_worse && (a.flops_per_token < b.flops_per_token || a.cache_bytes < b.cache_bytes ||
                        a.d50.estimate < b.d50.estimate || a.probability > b.probability);
  };
  for (const auto& b : advice.candidates) {
    REQUIRE(b.front >= 1);
    const bool dominated = std::ranges::any_of(advice.candidates, [&](const auto& a) { return dominates(a, b); });
    CHECK(dominated == (b.front > 1));
  }
}

TEST_CASE("win rates sum to one, the winner is the clear best, regret is least for it; all is deterministic") {
  const Evidence evidence = one_size();
  const Request request = request_for(1e13);
  const Advice advice = recommend(candidates(), evidence, request);
  double total = 0;
  for (const auto& a : advice.candidates) {
    total += a.win_rate;
    CHECK(a.regret >= 0);
    CHECK(a.regret >=
          advice.candidates[0].regret - 0.05);  // the point estimate's best may differ from the draws' by a hair
  }
  CHECK(total == Approx(1).epsilon(1e-9));
  CHECK(advice.candidates[0].win_rate > 0.3);
  CHECK(to_json(recommend(candidates(), evidence, request)) == to_json(advice));
  Request other = request;
  other.seed = 2;
  CHECK(to_json(recommend(candidates(), evidence, other)) != to_json(advice));
}

TEST_CASE("the next run narrows the interval, and by what an added run really does") {
  const Evidence evidence = one_size();
  const Advice advice = recommend(candidates(), evidence, request_for(1e13));
  REQUIRE(advice.next_run);
  CHECK(advice.next_run->sd_after < advice.next_run->sd_now);
  CHECK(advice.next_run->sd_now == Approx(advice.candidates[0].d50.sd_parameters).epsilon(1e-9));
  CHECK(has(advice.next_run->text, "one more run of"));
  // Refit with one more run of that design at its expected time: the standard error falls about as promised.
  auto runs = simulated_runs();
  fitting::EmergenceRun extra;
  for (const Candidate& c : candidates()) {
    if (c.design.layout_text() == advice.next_run->layout) extra.x = law_covariates(c.design);
  }
  extra.design = "extra";
  const double d50 = fitting::predict_d50(evidence.emergence, extra.x).estimate;
  extra.d_before = d50 / 1.04;
  extra.d_after = extra.d_max = d50 * 1.04;
  runs.push_back(extra);
  const auto refit = fitting::fit_emergence_time(runs, options());
  const auto x = law_covariates(model::Design::make(advice.candidates[0].layout, shape()));
  // The refit's sigma changes as well, by about 1 / (2 runs): 3% of the standard error.
  CHECK(fitting::predict_d50(refit, x).sd_parameters == Approx(advice.next_run->sd_after).epsilon(0.05));
}

TEST_CASE("warnings beyond the fitted range: tokens, context, window, size, few seeds") {
  Evidence evidence = one_size();
  evidence.runs_per_design = 2;
  const auto any = [](const std::vector<std::string>& warnings, const std::string& part) {
    return std::ranges::any_of(warnings, [&](const auto& w) { return has(w, part); });
  };
  const Advice near = recommend(candidates(), evidence, request_for(1e12));
  CHECK(near.candidates[0].warnings.empty());
  CHECK(any(near.warnings, "2 seeds a design is few"));
  const Advice far = recommend(candidates(), evidence, request_for(1e16));
  CHECK(any(far.candidates[0].warnings, "more than 10x the longest fitted run"));
  Request longer = request_for(1e13);
  longer.context = 4096;
  CHECK(any(recommend(candidates(), evidence, longer).candidates[0].warnings, "context 4096 was not fitted (only 64)"));
  const std::vector<Candidate> odd = {{model::Design::make("(swa:48 full)*2", shape()), "wide window"}};
  CHECK(any(recommend(odd, evidence, request_for(1e12)).candidates[0].warnings,
            "window 48 lies outside the fitted 4 to 32"));
  model::Shape big = shape();
  big.d_model = 1024;
  big.heads = big.kv_heads = 16;
  big.head_dim = 64;
  big.ffn = 3072;
  const std::vector<Candidate> large = {{model::Design::make("(swa:4 full)*2", big), ""}};
  CHECK(any(recommend(large, evidence, request_for(1e16)).candidates[0].warnings, "more than 10x outside the fitted"));
}

TEST_CASE("three sizes and an identified loss law: N* is given with an interval and the least loss wins") {
  const Evidence evidence = three_sizes(true);
  std::string why;
  const Advice advice = recommend(candidates(), evidence, request_for(1e13));
  REQUIRE(advice.size_identified);
  CHECK(advice.size.n_low < advice.size.n);
  CHECK(advice.size.n < advice.size.n_high);
  CHECK(advice.size.d > 0);
  for (std::size_t i = 1; i < advice.candidates.size() && advice.candidates[i].feasible; ++i) {
    CHECK(advice.candidates[i - 1].expected_loss <= advice.candidates[i].expected_loss);
  }
  CHECK(has(to_text(advice), "compute-optimal size N*"));
  const Advice without = recommend(candidates(), three_sizes(false), request_for(1e13));
  CHECK_FALSE(without.size_identified);
  CHECK(has(without.size.why, "no loss law"));
  Evidence flagged = evidence;
  for (auto& p : flagged.loss->fit.parameters) {
    if (p.name == "alpha") {
      p.identified = false;
      p.why = "on its upper bound";
    }
  }
  CHECK(has(recommend(candidates(), flagged, request_for(1e13)).size.why, "alpha of the loss law is not identified"));
}

TEST_CASE("impossible requests are refused with the field's name") {
  const Evidence evidence = one_size();
  const auto message = [&](const std::vector<Candidate>& list, const Request& request) -> std::string {
    try {
      (void)recommend(list, evidence, request);
    } catch (const model::InputError& e) {
      return e.what();
    }
    return "no error";
  };
  CHECK(has(message(candidates(), request_for(0)), "budget is 0"));
  CHECK(has(message({}, request_for(1e12)), "no candidates"));
  Request request = request_for(1e12);
  request.eps = 1;
  CHECK(has(message(candidates(), request), "eps is 1"));
  request = request_for(1e12);
  request.cache_limit = -3;
  CHECK(has(message(candidates(), request), "memory limit is -3"));
}

TEST_CASE("equal designs are one candidate") {
  auto twice = candidates();
  twice.push_back({model::Design::make("(swa:4 full) (swa:4 full)", shape()), "again"});
  CHECK(recommend(twice, one_size(), request_for(1e12)).candidates.size() == candidates().size());
}
