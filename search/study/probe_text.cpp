// Probes as tables and JSON (see probe_text.hpp).
#include "search/study/probe_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "search/report/plot.hpp"
#include "search/report/table.hpp"

namespace hylas::search {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kShownHeads = 12;
constexpr std::size_t kShownCheckpoints = 12;

std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{:.3f}", value) : "-";
}

// "0.912", or "0.701 +- 0.120" over several draws.
std::string number(const Spread& spread, std::size_t draws) {
  return draws > 1 ? fmt::format("{} +- {}", number(spread.mean), number(spread.deviation)) : number(spread.mean);
}

Json finite(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

bool is_in(const std::vector<int>& heads, int head) {
  return std::find(heads.begin(), heads.end(), head) != heads.end();
}

std::string heads_table(const TrialProbe& probe) {
  Table table{.columns = {{"head"}, {"layer"}}, .rows = {}};
  for (const char* name : {"answer", "answer/far", "copy", "previous", "entropy"}) {
    table.columns.push_back({name, Align::right});
  }
  table.columns.push_back({"why"});
  const auto row = [&](int head, const char* why) {
    const model::HeadScore& s = probe.checkpoints.back().scores[static_cast<std::size_t>(head)];
    table.rows.push_back({probe.head_name(head), probe.head_kind(head), number(s.answer), number(s.answer_far),
                          number(s.copy), number(s.previous), number(s.entropy), why});
  };
  for (std::size_t i = 0; i < std::min(kShownHeads, probe.top.size()); ++i) {
    row(probe.top[i], is_in(probe.previous, probe.top[i]) ? "top, previous-token" : "top");
  }
  for (std::size_t i = 0; i < std::min(kShownHeads, probe.previous.size()); ++i) {
    if (!is_in(probe.top, probe.previous[i])) row(probe.previous[i], "previous-token");
  }
  return text_table(table);
}

// Which of the checkpoints a table shows: all, or some at even distances with both ends.
std::vector<std::size_t> shown_checkpoints(std::size_t count) {
  const std::size_t rows = std::min(count, kShownCheckpoints);
  std::vector<std::size_t> shown;
  for (std::size_t i = 0; i < rows; ++i) shown.push_back(rows == 1 ? 0 : i * (count - 1) / (rows - 1));
  return shown;
}

// Of kept checkpoints, or of the evaluations that the sweep scored.
std::string history_table(const TrialProbe& probe, const std::vector<ProbedCheckpoint>& history) {
  const bool distances = !history.front().distances.empty();
  Table table{.columns = {{"step", Align::right}, {"tokens", Align::right}}, .rows = {}};
  const std::size_t heads = std::min<std::size_t>(6, probe.top.size());
  for (std::size_t i = 0; i < heads; ++i) {
    table.columns.push_back({"head " + probe.head_name(probe.top[i]), Align::right});
  }
  table.columns.push_back({"entropy", Align::right});
  table.columns.push_back({"all heads", Align::right});
  if (distances) table.columns.push_back({"|W_q - last|", Align::right});
  if (distances) table.columns.push_back({"|W_k - last|", Align::right});
  for (const std::size_t i : shown_checkpoints(history.size())) {
    const ProbedCheckpoint& one = history[i];
    const auto value = [&](int head) {
      const model::HeadScore& s = one.scores[static_cast<std::size_t>(head)];
      return probe.by_copy ? s.copy : s.answer;
    };
    std::vector<std::string> row = {std::to_string(one.step), short_number(static_cast<double>(one.tokens))};
    for (std::size_t h = 0; h < heads; ++h) row.push_back(number(value(probe.top[h])));
    double entropy = 0, all = 0, q = 0, k = 0;
    for (const int head : probe.top) entropy += one.scores[static_cast<std::size_t>(head)].entropy;
    for (int head = 0; head < probe.heads(); ++head) all += value(head);
    for (const model::WeightDistance& d : one.distances) q += d.q, k += d.k;
    const auto layers = static_cast<double>(one.distances.size());
    row.push_back(number(entropy / static_cast<double>(probe.top.size())));
    row.push_back(number(all / static_cast<double>(probe.heads())));
    if (distances) row.push_back(number(q / layers));
    if (distances) row.push_back(number(k / layers));
    table.rows.push_back(std::move(row));
  }
  return text_table(table);
}

void add_row(Table& table, const TrialProbe& probe, const ProbedVariant& variant) {
  std::vector<std::string> row = {variant.text};
  if (table.columns.size() > probe.metrics().size() + 1) row.push_back(std::to_string(variant.points.size()));
  for (const std::string& metric : probe.metrics())
    row.push_back(number(spread_of(variant, metric), variant.points.size()));
  table.rows.push_back(std::move(row));
}

std::string variants_table(const TrialProbe& probe, const char* title, const std::vector<ProbedVariant>& variants,
                           bool draws) {
  Table table{.columns = {{title}}, .rows = {}};
  if (draws) table.columns.push_back({"draws", Align::right});
  for (const std::string& metric : probe.metrics()) table.columns.push_back({metric, Align::right});
  add_row(table, probe, probe.whole);
  for (const ProbedVariant& variant : variants) add_row(table, probe, variant);
  return text_table(table);
}

// How many of the top heads lie in full layers.
std::size_t top_in_full(const TrialProbe& probe) {
  return static_cast<std::size_t>(std::count_if(probe.top.begin(), probe.top.end(), [&](int head) {
    return probe.design.layout.layers[static_cast<std::size_t>(probe.layer_of(head))].mixer == model::Mixer::full;
  }));
}

std::string main_metric(const TrialProbe& probe) {
  return probe.metrics().back();  // the far accuracy where there is one
}

Json metrics_json(const ProbedVariant& variant) {
  auto json = Json::object();
  for (const model::Point& point : variant.points.front()) {
    const Spread spread = spread_of(variant, point.metric);
    Json one = {{"mean", finite(spread.mean)}, {"count", point.count}};
    if (variant.points.size() > 1) {
      one["deviation"] = finite(spread.deviation);
      one["min"] = finite(spread.least);
      one["max"] = finite(spread.most);
      for (const auto& points : variant.points) {
        for (const model::Point& other : points) {
          if (other.metric == point.metric) one["values"].push_back(finite(other.value));
        }
      }
    }
    json[point.metric] = std::move(one);
  }
  return json;
}

Json names_json(const TrialProbe& probe, const std::vector<int>& heads) {
  auto json = Json::array();
  for (const int head : heads) json.push_back(probe.head_name(head));
  return json;
}

Json checkpoint_json(const TrialProbe& probe, const ProbedCheckpoint& checkpoint) {
  auto heads = Json::array(), distances = Json::array();
  for (int head = 0; head < probe.heads(); ++head) {
    const model::HeadScore& s = checkpoint.scores[static_cast<std::size_t>(head)];
    heads.push_back({{"layer", probe.layer_of(head)},
                     {"head", head % probe.design.shape.heads},
                     {"mixer", probe.head_kind(head)},
                     {"answer", finite(s.answer)},
                     {"answer_far", finite(s.answer_far)},
                     {"copy", finite(s.copy)},
                     {"previous", finite(s.previous)},
                     {"entropy", finite(s.entropy)}});
  }
  for (const model::WeightDistance& d : checkpoint.distances) {
    distances.push_back({{"layer", d.layer}, {"q", finite(d.q)}, {"k", finite(d.k)}});
  }
  return {{"step", checkpoint.step}, {"tokens", checkpoint.tokens}, {"heads", heads}, {"weight_distance", distances}};
}

}  // namespace

std::string probe_text(const TrialProbe& probe) {
  const ProbedCheckpoint& last = probe.checkpoints.back();
  std::string text = fmt::format(
      "trial {}  {}, seed {}, step {} of {} ({} tokens)\n{} heads in {} attention layers; {} queries; {} evaluation "
      "sequences; {}\n\nHeads at the last checkpoint ({} of the top {} in full layers)\n",
      probe.trial.trial_key, printable(probe.trial.layout), probe.trial.seed, last.step, probe.trial.steps,
      short_number(static_cast<double>(last.tokens)), probe.heads(), probe.layers.size(), probe.queries,
      probe.sequences, probe.device, top_in_full(probe), probe.top.size());
  text += heads_table(probe);
  const bool kept = probe.checkpoints.size() > 1;
  const std::vector<ProbedCheckpoint>& history = kept ? probe.checkpoints : probe.stored;
  if (!history.empty()) {
    text += fmt::format("\n{} of the top heads over training ({} {})\n", probe.by_copy ? "Copy score" : "Answer mass",
                        history.size(), kept ? "checkpoints" : "evaluations, as the sweep stored them");
    text += history_table(probe, history);
  }
  text += "\nReceptive-field cut\n" + variants_table(probe, "cut", probe.cuts, false);
  text += "\nHeads switched off (mean +- standard deviation over draws; plain random draws exclude no head)\n";
  return text + variants_table(probe, "heads off", probe.ablations, true);
}

std::string probe_results(std::span<const TrialProbe> probes) {
  Table table{.columns = {{"trial"}, {"layout"}, {"seed", Align::right}, {"metric"}, {"as trained", Align::right}},
              .rows = {}};
  for (const char* name : {"full cut", "without first", "window cut", "top off", "previous off", "random off",
                           "random, no top", "random, no both", "top in full"}) {
    table.columns.push_back({name, Align::right});
  }
  for (const TrialProbe& probe : probes) {
    const std::string metric = main_metric(probe);
    const auto cell = [&](const std::vector<ProbedVariant>& variants, const char* name) {
      for (const ProbedVariant& one : variants) {
        if (one.name == name) return number(spread_of(one, metric), one.points.size());
      }
      return std::string("-");
    };
    table.rows.push_back({probe.trial.trial_key.substr(0, 8), probe.trial.layout, std::to_string(probe.trial.seed),
                          metric, number(spread_of(probe.whole, metric).mean), cell(probe.cuts, "full layers"),
                          cell(probe.cuts, "full layers, no first keys"), cell(probe.cuts, "window layers"),
                          cell(probe.ablations, "top"), cell(probe.ablations, "previous"),
                          cell(probe.ablations, "random"), cell(probe.ablations, "random without top"),
                          cell(probe.ablations, "random without both"),
                          fmt::format("{}/{}", top_in_full(probe), probe.top.size())});
  }
  return text_table(table);
}

Json probe_json(const TrialProbe& probe) {
  auto checkpoints = Json::array(), cuts = Json::array(), ablations = Json::array();
  for (const ProbedCheckpoint& one : probe.checkpoints) checkpoints.push_back(checkpoint_json(probe, one));
  for (const ProbedVariant& cut : probe.cuts) {
    cuts.push_back({{"layers", cut.name != "window layers" ? "full" : "swa"},
                    {"window", cut.window},
                    {"first_keys", cut.first_keys},
                    {"metrics", metrics_json(cut)}});
  }
  for (const ProbedVariant& ablation : probe.ablations) {
    auto draws = Json::array();
    for (const std::vector<int>& heads : ablation.heads) draws.push_back(names_json(probe, heads));
    ablations.push_back({{"heads", ablation.name}, {"off", draws}, {"metrics", metrics_json(ablation)}});
  }
  Json json = {{"trial_key", probe.trial.trial_key},
               {"design_id", probe.trial.design_id},
               {"layout", probe.trial.layout},
               {"seed", probe.trial.seed},
               {"steps", probe.trial.steps},
               {"device", probe.device},
               {"sequences", probe.sequences},
               {"queries", probe.queries},
               {"checkpoints", checkpoints},
               {"chosen_by", probe.by_copy ? "copy" : "answer"},
               {"top_heads", names_json(probe, probe.top)},
               {"top_heads_in_full_layers", top_in_full(probe)},
               {"previous_token_heads", names_json(probe, probe.previous)},
               {"as_trained", metrics_json(probe.whole)},
               {"cuts", cuts},
               {"ablations", ablations}};
  if (!probe.warning().empty()) json["warning"] = probe.warning();
  return json;
}

}  // namespace hylas::search
