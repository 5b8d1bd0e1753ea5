// See plan_text.hpp.
#include "search/study/plan_text.hpp"

#include <fmt/format.h>

#include "search/report/plot.hpp"
#include "search/report/table.hpp"
#include "search/run/progress.hpp"

namespace hylas::search {
namespace {

bool several_studies(const TrainingPlan& plan) {
  for (const CohortPlan& cohort : plan.cohorts) {
    if (cohort.study != plan.cohorts.front().study) return true;
  }
  return false;
}

std::string cohorts_table(const TrainingPlan& plan) {
  const auto right = Align::right;
  Table table{{{"cohort"},
               {"trials", right},
               {"together", right},
               {"tokens", right},
               {"FLOPs", right},
               {"tokens/s", right},
               {"hours", right}},
              {}};
  const bool studies = several_studies(plan);
  if (studies) table.columns.insert(table.columns.begin(), {"study"});
  for (const CohortPlan& cohort : plan.cohorts) {
    std::vector<std::string> row;
    if (studies) row.push_back(cohort.study);
    row.push_back(cohort.text);
    row.push_back(std::to_string(cohort.trials));
    row.push_back(std::to_string(cohort.together));
    row.push_back(short_number(static_cast<double>(cohort.tokens)));
    row.push_back(fmt::format("{:.3g}", cohort.flops));
    row.push_back(short_number(cohort.tokens_per_second));
    row.push_back(fmt::format("{:.3g}", cohort.hours()));
    table.rows.push_back(std::move(row));
  }
  return text_table(table);
}

}  // namespace

std::string plan_text(const SweepPlan& plan) {
  return fmt::format(
      "{} designs, {} trials in {} cohorts (the largest of {}), {} evaluations;\n"
      "at most {:.4g} tokens and {:.3g} training FLOPs, less what stops early.\n",
      plan.designs, plan.trials, plan.cohorts, plan.largest_cohort, plan.evaluations, static_cast<double>(plan.tokens),
      plan.flops);
}

std::string plan_text(const TrainingPlan& plan) {
  std::string text = plan_text(plan.totals) + "\n" + cohorts_table(plan);
  const double hours = plan.hours();
  text +=
      fmt::format("\n{:.3g} {} ({}) on one {}, by the speed just measured.", hours,
                  plan.device.starts_with("cuda") ? "GPU-hours" : "hours", duration_text(3600 * hours), plan.device);
  if (plan.devices > 1) {
    const double each = hours / static_cast<double>(plan.devices);
    text +=
        fmt::format(" {} such devices share them: {:.3g} hours ({}).", plan.devices, each, duration_text(3600 * each));
  }
  return text + "\nRuns that stop early make it shorter; evaluations are not in it.\n";
}

nlohmann::ordered_json plan_json(const SweepPlan& plan) {
  return {{"designs", plan.designs},
          {"trials", plan.trials},
          {"cohorts", plan.cohorts},
          {"largest_cohort", plan.largest_cohort},
          {"evaluations", plan.evaluations},
          {"tokens", plan.tokens},
          {"flops", plan.flops}};
}

nlohmann::ordered_json plan_json(const TrainingPlan& plan) {
  auto json = plan_json(plan.totals);
  json["device"] = plan.device;
  json["devices"] = plan.devices;
  json["device_hours"] = plan.hours();
  json["kinds"] = nlohmann::ordered_json::array();
  for (const CohortPlan& cohort : plan.cohorts) {
    json["kinds"].push_back({{"study", cohort.study},
                             {"cohort", cohort.text},
                             {"cohort_key", cohort.cohort_key},
                             {"trials", cohort.trials},
                             {"together", cohort.together},
                             {"tokens", cohort.tokens},
                             {"flops", cohort.flops},
                             {"tokens_per_second", cohort.tokens_per_second},
                             {"hours", cohort.hours()},
                             {"steps_timed", cohort.steps}});
  }
  return json;
}

}  // namespace hylas::search
