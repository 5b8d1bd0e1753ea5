// Loss laws: loss as a function of parameters N, tokens D and whatever else a law asks for, fitted to rows.
//
// loss_laws() lists them: Chinchilla's approach 3, the two-power law of loss or ln LongPPL, the data-constrained law, a
// broken neural scaling law, learning-rate annealing, and data efficiency by design (F2). A fit minimises a residual
// loss of ln(L predicted / L), Huber(1e-3) unless told otherwise, summed (MATHS 3); `Fit::objective` is that sum,
// unscaled. Where a column is a perplexity, the caller gives its logarithm as the loss.
//
// Intervals: bootstrap of rows, of runs (give `run`: points of one run are not independent), or parametric (residuals
// drawn from the density whose negative logarithm the residual loss is), or, at once, the sandwich covariance. What is
// not identified is said in words: a parameter on its bound, a flat profile, another basin as good, bootstrap fits on a
// bound, an exponent known to no better than a factor of two. Units are the caller's: sizes like A and B belong to
// them. Errors: InputError names column and row (1 is the first). Deterministic whatever the threads. Thread-safety:
// free functions on values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fitting/input_error.hpp"
#include "fitting/result.hpp"

namespace hylas::fitting {

class LossLaw;
class LossModel;

struct LossData {
  std::map<std::string, std::vector<double>> columns;  // by what the law calls them: "N", "D", ...; equal lengths
  std::vector<double> loss;                            // positive
  std::vector<double> weight;                          // empty: all 1; not negative
  std::vector<std::string> run;                        // empty, or one name a row: what the bootstrap resamples

  [[nodiscard]] static LossData of(std::vector<double> n, std::vector<double> d, std::vector<double> loss,
                                   std::vector<std::string> run = {});
  [[nodiscard]] std::size_t rows() const;
  [[nodiscard]] bool has(const std::string& column) const { return columns.count(column) != 0; }
  [[nodiscard]] const std::vector<double>& at(const std::string& column) const;  // InputError where it is missing
};
[[nodiscard]] LossData rows_where(const LossData& data, const std::vector<bool>& mask, bool value);

// What a law is, in words.
struct LossColumnText {
  std::string name, meaning;
  bool required = true, positive = true, varies = true;  // varies: a constant column is refused
};
struct LossSettingText {
  std::string name, meaning;
  double value = 0, low = 0, high = 0;  // default and range
};
struct LossLawText {
  std::string name, summary, formula, source;
  std::vector<std::string> parameters;  // some laws add one a column or a break
  std::vector<LossColumnText> columns;  // besides the loss
  std::vector<LossSettingText> settings;
  bool whole_runs = false;  // a row says nothing without the rows before it: predictions need whole runs
};
using LossSettings = std::map<std::string, double>;

enum class LossIntervals { none, bootstrap, parametric, sandwich };

struct LossOptions {
  std::string residual = "huber";  // or "l1", "squares"
  double delta = 1e-3;             // Huber's, on ln L
  double level = 0.9;
  LossIntervals intervals = LossIntervals::bootstrap;
  int bootstrap = 500;  // replicates; 0: no intervals
  std::uint64_t seed = 1;
  int starts = 8;  // polished seeds of the variable projection
  int threads = 1;
  LossSettings settings;                                    // of the law
  std::map<std::string, double> fixed;                      // parameters held at a value, by name
  std::map<std::string, std::pair<double, double>> bounds;  // narrower than the law's own, by name
  std::vector<std::vector<double>> start_at;                // parameter values to start from; empty: the law's seeds
};

struct LossFit {
  Fit fit;
  std::shared_ptr<const LossModel> model;
  std::string residual;
  double delta = 0;
  double scale = 0;  // of the residuals' density
};

[[nodiscard]] const std::vector<LossLawText>& loss_laws();
[[nodiscard]] LossFit fit_loss(std::string_view law, const LossData& data, const LossOptions& options = {});
// Any law, also one that this program does not know.
[[nodiscard]] LossFit fit_loss(const LossLaw& law, const LossData& data, const LossOptions& options = {});

struct LossPrediction {
  double loss = kNaN;
  double ci_low = kNaN, ci_high = kNaN;  // of the law's curve; NaN without a bootstrap
  std::vector<std::string> warnings;     // beyond 10x of the fitted rows
};
// One a row; the rows need the law's columns, and no loss.
[[nodiscard]] std::vector<LossPrediction> predict_loss(const LossFit& fit, const LossData& rows);
[[nodiscard]] LossPrediction predict_loss(const LossFit& fit, double n, double d);

// Rows that were not fitted: root mean square of ln(loss / predicted), and the share inside the intervals of a new row
// (NaN without a bootstrap).
struct LossHoldOut {
  int rows = 0;
  double rmse_log = kNaN, coverage = kNaN;
};
[[nodiscard]] LossHoldOut hold_out(const LossFit& fit, const LossData& rows);

// E, A, B, alpha, beta at coordinates theta (the estimate or a bootstrap draw) of a fit of "chinchilla".
struct ChinchillaLaw {
  double e = 0, a = 0, b = 0, alpha = 0, beta = 0;
  [[nodiscard]] double loss(double n, double d) const;
};
[[nodiscard]] ChinchillaLaw chinchilla_at(const LossFit& fit, const std::vector<double>& theta);

}  // namespace hylas::fitting
