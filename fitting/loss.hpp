// Loss laws: loss as a function of parameters N and tokens D.
//
//   chinchilla  approach 3 (arXiv 2203.15556):  ln L = LSE(a - alpha ln N, b - beta ln D, e),  A = exp a, B = exp b, E
//   = exp e;
//               Huber(delta) on the log residuals, summed. Parameters are named E, A, B, alpha, beta.
//
// Units are the caller's: A and B belong to them. Points of one run are not independent: give `run` and the bootstrap
// resamples runs. Errors: InputError names the row (1 is the first point). Deterministic whatever the threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fitting/input_error.hpp"
#include "fitting/result.hpp"

namespace hylas::fitting {

struct LossData {
  std::vector<double> n, d, loss;  // equal lengths, positive, finite
  std::vector<std::string> run;    // empty, or one name a point: what the bootstrap resamples
};

struct LossOptions {
  double delta = 1e-3;  // Huber's, on ln L
  double level = 0.9;
  int bootstrap = 500;  // replicates; 0: no intervals
  std::uint64_t seed = 1;
  int starts = 8;  // polished seeds of the variable projection
  int threads = 1;
};

struct LossFit {
  Fit fit;
  double n_min = 0, n_max = 0, d_min = 0, d_max = 0;
  double log_n0 = 0, log_d0 = 0;  // centres of the coordinates
};

struct LossPrediction {
  double loss = kNaN;
  double ci_low = kNaN, ci_high = kNaN;  // NaN without a bootstrap
  std::vector<std::string> warnings;     // beyond 10x of the fitted N or D
};

[[nodiscard]] std::vector<std::string> loss_laws();  // names fit_loss() takes
[[nodiscard]] LossFit fit_loss(std::string_view law, const LossData& data, const LossOptions& options = {});
[[nodiscard]] LossFit fit_chinchilla(const LossData& data, const LossOptions& options = {});

[[nodiscard]] LossPrediction predict_loss(const LossFit& fit, double n, double d);

// E, A, B, alpha, beta at coordinates theta (the estimate or a bootstrap draw).
struct ChinchillaLaw {
  double e = 0, a = 0, b = 0, alpha = 0, beta = 0;  // E, A, B, alpha, beta
  [[nodiscard]] double loss(double n, double d) const;
};
[[nodiscard]] ChinchillaLaw chinchilla_at(const LossFit& fit, const std::vector<double>& theta);

// Hold-out: rows where `keep` is true (or false); root mean square of ln(loss / predicted) over data.
[[nodiscard]] LossData rows_where(const LossData& data, const std::vector<bool>& mask, bool value);
[[nodiscard]] double rmse_log(const LossFit& fit, const LossData& data);

}  // namespace hylas::fitting
