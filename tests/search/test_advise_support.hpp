// Simulated evidence for the recommender's tests: seven layouts of one small shape, three seeds each, and a loss law.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "fitting/random.hpp"
#include "search/advise/recommend.hpp"

namespace hylas::search::advise_testing {

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline model::Shape shape() {
  model::Shape s;
  s.d_model = s.head_dim = 32;
  s.heads = s.kv_heads = 1;
  s.ffn = 96;
  s.vocab = 32;
  s.context = 64;
  return s;
}

inline std::vector<Candidate> candidates() {
  std::vector<Candidate> list;
  for (const char* text : {"(swa:4 full)*2", "(swa:16 full)*2", "(swa:32 full)*2", "(swa:4 full/nope)*2",
                           "(swa:16 full/nope)*2", "(swa:32 full/nope)*2", "full*4"}) {
    list.push_back({model::Design::make(text, shape()), ""});
  }
  return list;
}

inline fitting::EmergenceOptions options() {
  fitting::EmergenceOptions o;
  o.terms = {"ln_window", "nope", "no_swa"};
  o.cure = false;
  return o;
}

inline std::vector<fitting::EmergenceRun> simulated_runs() {
  std::vector<fitting::EmergenceRun> runs;
  fitting::Stream stream(31, 0);
  for (const Candidate& c : candidates()) {
    for (int seed = 0; seed < 3; ++seed) {
      fitting::EmergenceRun run;
      run.design = c.design.id();
      run.seed = seed;
      run.x = law_covariates(c.design);
      const double log_window = run.x.window > 0 ? std::log(run.x.window / 16) : 0;
      const double log_time = std::log(2.5e5) + 0.5 * log_window - 0.4 * run.x.nope + 0.2 * stream.normal();
      const double cell = std::floor(log_time / 0.08);
      run.d_before = std::exp(cell * 0.08);
      run.d_after = std::exp((cell + 1) * 0.08);
      run.d_max = 2e6;
      runs.push_back(run);
    }
  }
  return runs;
}

inline Evidence one_size() {
  Evidence evidence;
  evidence.emergence = fitting::fit_emergence_time(simulated_runs(), options());
  evidence.context_min = evidence.context_max = 64;
  evidence.runs_per_design = 3;
  return evidence;
}

// The emergence law of one_size() beside a loss law of three sizes around the candidates'.
inline Evidence three_sizes(bool with_loss) {
  Evidence evidence = one_size();
  evidence.sizes = {2e4, 6e4, 2e5};
  if (!with_loss) return evidence;
  fitting::LossData data;
  fitting::Stream stream(8, 0);
  for (const double n : evidence.sizes) {
    for (double d = 1e5; d < 1e8; d *= 2) {
      data.columns["N"].push_back(n);
      data.columns["D"].push_back(d);
      data.loss.push_back((0.5 + 40 * std::pow(n, -0.4) + 60 * std::pow(d, -0.35)) * std::exp(0.002 * stream.normal()));
    }
  }
  fitting::LossOptions o;
  o.bootstrap = 100;
  evidence.loss = fitting::fit_loss("chinchilla", data, o);
  return evidence;
}

inline Request request_for(double flops) {
  Request request;
  request.flops = flops;
  request.draws = 300;
  return request;
}

}  // namespace hylas::search::advise_testing
