// D50 at designs that were not run, by a fitted law of emergence: `fit emergence --predict N=...,window=...`.
//
// A covariate that is left out takes the value that all runs share; where the fit uses it and runs differ, it must be
// given. Errors: model::InputError. Thread-safety: pure functions.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "search/study/emergence_fit.hpp"

namespace hylas::search {

// What --predict may name: N, window, full_fraction, nope, sink, depth and width where the data tell them, and the
// indicators of the data.
[[nodiscard]] std::vector<std::string> predictable(const EmergenceData& data);

struct Prediction {
  std::string design;                   // "N=1e+09 window=64"
  std::map<std::string, double> given;  // as asked for
  fitting::D50 d50;
};
[[nodiscard]] std::vector<Prediction> predict_designs(const EmergenceData& data, const fitting::EmergenceFit& fit,
                                                      const std::vector<std::map<std::string, double>>& designs,
                                                      int threads);

[[nodiscard]] std::string predictions_text(const std::vector<Prediction>& predictions, double level);
// [{design {N, ...}, d50 {estimate, ci_low, ci_high, run_low, run_high, probability_ever}, warnings}]
[[nodiscard]] nlohmann::ordered_json predictions_json(const std::vector<Prediction>& predictions);

}  // namespace hylas::search
