// See emergence_data.hpp.
#include "search/study/emergence_data.hpp"

#include <map>
#include <set>
#include <utility>

namespace hylas::search {
namespace {

// Runs of one design that share a seed differ in their data seeds.
class RunNumbers {
 public:
  std::int64_t operator()(const DataRun& run) {
    auto number = run.seed;
    while (!taken_.emplace(run.design, number).second) number += 1'000'000;
    return number;
  }

 private:
  std::set<std::pair<std::size_t, std::int64_t>> taken_;
};

}  // namespace

std::vector<const DataRun*> EmergenceData::runs_of(std::size_t design) const {
  std::vector<const DataRun*> chosen;
  for (const auto& run : runs) {
    if (run.design == design) chosen.push_back(&run);
  }
  return chosen;
}

void make_labels_unique(EmergenceData& data) {
  std::map<std::string, int> count;
  for (const auto& design : data.designs) ++count[design.label];
  for (auto& design : data.designs) {
    if (count[design.label] > 1 && design.label != design.name) design.label += " " + design.name;
  }
}

void leave_out_silent(EmergenceData& data) {
  data.left_out += static_cast<std::int64_t>(
      std::erase_if(data.runs, [](const DataRun& run) { return !run.emerged() && run.crossing.d_before <= 0; }));
}

std::vector<fitting::EmergenceRun> emergence_runs(const EmergenceData& data) {
  std::vector<fitting::EmergenceRun> result;
  RunNumbers number;
  std::set<double> all;
  for (const auto& run : data.runs) {
    for (const auto& point : run.curve) all.insert(point.tokens);
  }
  for (const auto& run : data.runs) {
    const auto& design = data.designs[run.design];
    fitting::EmergenceRun r{design.label, number(run), design.x};
    r.d_before = run.crossing.d_before;
    r.d_after = run.crossing.d_after;
    r.d_max = run.crossing.d_max;
    for (const auto& point : run.curve) {
      if (point.tokens > 0) r.evaluations.push_back(point.tokens);
    }
    // One that emerged may have been stopped for it.
    if (run.emerged()) r.evaluations.insert(r.evaluations.end(), all.upper_bound(r.d_max), all.end());
    result.push_back(std::move(r));
  }
  return result;
}

std::vector<fitting::CurveRun> curve_runs(const EmergenceData& data) {
  std::vector<fitting::CurveRun> result;
  RunNumbers number;
  for (const auto& run : data.runs) {
    const auto& design = data.designs[run.design];
    fitting::CurveRun r{design.label, number(run), design.x, {}, {}, {}};
    for (const auto& point : run.curve) {
      if (point.tokens <= 0 || point.count <= 0) continue;  // the curve is a law of ln D
      r.tokens.push_back(point.tokens);
      r.accuracy.push_back(point.value);
      r.count.push_back(point.count);
    }
    result.push_back(std::move(r));
  }
  return result;
}

}  // namespace hylas::search
