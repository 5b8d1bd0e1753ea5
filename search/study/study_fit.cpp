// See study_fit.hpp.
#include "search/study/study_fit.hpp"

#include <set>

#include "fitting/input_error.hpp"
#include "search/advise/recommend.hpp"

namespace hylas::search {

std::optional<fitting::LossFit> fit_study_loss(const db::Store& store, const StudyRuns& runs, int threads) {
  std::set<double> sizes;
  fitting::LossData data;
  const auto losses = load_study_runs(store, runs.study.name, "loss");
  for (const auto& run : losses.runs) {
    const auto n = law_covariates(losses.design(run.design_id)).parameters;
    const auto& last = run.curve.back();
    if (!(last.value > 0) || last.tokens <= 0) continue;
    sizes.insert(n);
    data.columns["N"].push_back(n);
    data.columns["D"].push_back(static_cast<double>(last.tokens));
    data.loss.push_back(last.value);
    data.run.push_back(run.trial_key);
  }
  if (sizes.size() < 3) return std::nullopt;
  fitting::LossOptions options;
  options.threads = threads;
  try {
    return fitting::fit_loss("chinchilla", data, options);
  } catch (const fitting::InputError&) {  // e.g. all runs of one length: there is nothing to learn about D
    return std::nullopt;
  }
}

}  // namespace hylas::search
