// See sweep_text.hpp.
#include "search/cli/sweep_text.hpp"

#include <fmt/format.h>

#include "search/report/plot.hpp"
#include "search/report/table.hpp"

namespace hylas::cli {

std::string sweep_text(const search::SweepSummary& summary, const std::string& db) {
  std::string states;
  for (const auto& [state, count] : summary.trials) {
    if (count > 0) states += fmt::format("{}{} {}", states.empty() ? "" : ", ", count, db::to_string(state));
  }
  auto text = fmt::format("trials: {}; trained {} tokens in {:.1f} s", states,
                          search::short_number(static_cast<double>(summary.tokens)), summary.seconds);
  if (summary.already_finished > 0) text += fmt::format(" ({} were finished before)", summary.already_finished);
  text += summary.interrupted ? "\ninterrupted; run the same command again to go on\n"
                              : fmt::format("\nnext: hylas fit emergence --db {}\n", db);
  return text;
}

std::string sweep_text(const search::TunedSweep& sweep, const search::Space& space, const std::string& db) {
  if (!sweep.reached_study) return "tuning: " + sweep_text(sweep.tuning, db);
  search::Table table{{{"layout"}, {"d", search::Align::right}, {"tuned learning rate", search::Align::right}}, {}};
  for (const auto& design : space.designs) {
    table.rows.push_back(
        {design.layout_text(), std::to_string(design.shape.d_model), fmt::format("{:g}", sweep.rates.at(design.id()))});
  }
  return search::text_table(table) + "\n" + sweep_text(sweep.study, db);
}

nlohmann::ordered_json sweep_json(const search::TunedSweep& sweep) {
  auto json = sweep_json(sweep.reached_study ? sweep.study : search::SweepSummary{});
  json["tuning"] = sweep_json(sweep.tuning);
  json["rates"] = nlohmann::ordered_json::object();
  for (const auto& [design, rate] : sweep.rates) json["rates"][design] = rate;
  return json;
}

nlohmann::ordered_json sweep_json(const search::SweepSummary& summary) {
  nlohmann::ordered_json states = nlohmann::ordered_json::object();
  for (const auto& [state, count] : summary.trials) states[std::string(db::to_string(state))] = count;
  const auto& p = summary.profile;
  return {{"trials", states},
          {"trained", summary.trained},
          {"already_finished", summary.already_finished},
          {"tokens", summary.tokens},
          {"seconds", summary.seconds},
          {"interrupted", summary.interrupted},
          {"profile",
           {{"training", p.training},
            {"evaluation", p.evaluation},
            {"store", p.store},
            {"checkpoints", p.checkpoints},
            {"other", p.other()},
            {"total", p.total},
            {"evaluation_share", p.total > 0 ? p.evaluation / p.total : 0},
            {"overhead_share", p.overhead_share()}}}};
}

}  // namespace hylas::cli
