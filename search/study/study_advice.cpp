// See study_advice.hpp.
#include "search/study/study_advice.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "search/study/emergence_fit.hpp"
#include "search/study/study_fit.hpp"

namespace hylas::search {

std::vector<Candidate> study_candidates(const StudyRuns& runs, std::int64_t context) {
  std::vector<Candidate> candidates;
  for (const auto& design : runs.designs) {
    auto shape = design.shape;
    if (context > 0) shape.context = context;
    const auto candidate = model::Design::make(design.layout_text(), shape);
    candidates.push_back({candidate, runs.label(candidate)});
  }
  return candidates;
}

Advice advise(const db::Store& store, const StudyRuns& runs, const fitting::EmergenceFit& fit,
              const std::vector<Candidate>& candidates, const Request& request, int threads) {
  Evidence evidence;
  evidence.emergence = fit;
  evidence.loss = fit_study_loss(store, runs, threads);
  std::set<double> sizes;
  evidence.context_min = evidence.context_max = runs.designs.front().shape.context;
  for (const auto& design : runs.designs) {
    sizes.insert(law_covariates(design).parameters);
    evidence.context_min = std::min(evidence.context_min, design.shape.context);
    evidence.context_max = std::max(evidence.context_max, design.shape.context);
  }
  evidence.sizes.assign(sizes.begin(), sizes.end());
  auto fewest = runs.runs.size();
  for (const auto& design : runs.designs) {
    if (const auto count = runs.runs_of(design.id()).size(); count > 0) fewest = std::min(fewest, count);
  }
  evidence.runs_per_design = static_cast<int>(fewest);
  auto advice = recommend(candidates, evidence, request);
  if (auto lack = lack_of_fit_text(lack_of_fit(emergence_data(runs), fit)); !lack.empty())
    advice.warnings.push_back(std::move(lack));
  return advice;
}

}  // namespace hylas::search
