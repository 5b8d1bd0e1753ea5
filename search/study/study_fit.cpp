// See study_fit.hpp.
#include "search/study/study_fit.hpp"

#include <set>

#include "fitting/input_error.hpp"
#include "search/study/loss_rows.hpp"

namespace hylas::search {

std::optional<fitting::LossFit> fit_study_loss(const db::Store& store, const StudyRuns& runs, int threads) {
  const auto data = loss_rows_of_study(store, runs.study.name, "loss", false).data;
  const auto sizes = data.has("N") ? data.at("N") : std::vector<double>();
  if (std::set<double>(sizes.begin(), sizes.end()).size() < 3) return std::nullopt;
  fitting::LossOptions options;
  options.threads = threads;
  try {
    return fitting::fit_loss("chinchilla", data, options);
  } catch (const fitting::InputError&) {  // e.g. all runs of one length: there is nothing to learn about D
    return std::nullopt;
  }
}

}  // namespace hylas::search
