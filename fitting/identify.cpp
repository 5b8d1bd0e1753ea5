// Identification checks; contract in the header.
#include "fitting/identify.hpp"

#include <fmt/format.h>

#include <cmath>

namespace hylas::fitting {

void not_identified(Parameter& parameter, const std::string& why) {
  parameter.identified = false;
  if (parameter.why.find(why) != std::string::npos) return;
  parameter.why += (parameter.why.empty() ? "" : "; ") + why;
}

std::vector<int> rival_basins(const MultiStart& fits, double ratio, double slack) {
  std::vector<int> rivals;
  const Solution& best = fits.best;
  for (std::size_t i = 0; i < fits.all.size(); ++i) {
    const Solution& s = fits.all[i];
    if (!s.converged) continue;
    const double above = s.objective - best.objective;
    if (above > std::max(ratio * std::abs(best.objective), slack)) continue;
    const double distance =
        (s.theta - best.theta).cwiseQuotient(best.theta.cwiseAbs().cwiseMax(0.1)).cwiseAbs().maxCoeff();
    if (distance > 0.02) rivals.push_back(static_cast<int>(i));
  }
  return rivals;
}

void describe_solution(Fit& fit, const MultiStart& fits, const std::vector<std::string>& coordinates) {
  fit.starts = static_cast<int>(fits.all.size());
  fit.starts_agreeing = fits.agreeing;
  fit.converged = fits.best.converged;
  fit.first_order = fits.best.first_order;
  fit.coordinates = coordinates;
  fit.theta.assign(fits.best.theta.begin(), fits.best.theta.end());
  const Matrix covariance = fits.best.covariance();
  fit.covariance.assign(covariance.data(), covariance.data() + covariance.size());  // symmetric
  if (!fit.converged) {
    fit.warnings.push_back(
        fmt::format("the solver did not reach a minimum (first-order norm {:.1e}): do not trust this fit; check the "
                    "data for outliers "
                    "or give fewer columns",
                    fit.first_order));
  } else if (fit.starts > 1 && fit.starts_agreeing == 1) {
    fit.warnings.push_back(
        fmt::format("only one of {} starts reached the least objective: a better minimum may exist", fit.starts));
  }
}

}  // namespace hylas::fitting
