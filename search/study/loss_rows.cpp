// See loss_rows.hpp.
#include "search/study/loss_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "model/design/input_error.hpp"
#include "search/advise/recommend.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::search {
namespace {

std::string column_of(const std::map<std::string, std::string>& columns, const std::string& role) {
  const auto found = columns.find(role);
  return found == columns.end() ? role : found->second;
}

// As text, or as numbers: 1024 is 1024.0.
bool same(const std::string& a, const std::string& b) {
  if (a == b) return true;
  double x = 0, y = 0;
  const auto whole = [](const std::string& text, double& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
  };
  return whole(a, x) && whole(b, y) && x == y;
}

}  // namespace

fitting::LossData columns_of_table(const fitting::Table& table, const fitting::LossLawText& law,
                                   const std::map<std::string, std::string>& columns) {
  fitting::LossData data;
  for (const auto& column : law.columns) {
    const auto name = column_of(columns, column.name);
    if (!column.required && columns.count(column.name) == 0 && !table.has(name)) continue;
    data.columns[column.name] = table.numbers(name, column.positive);
  }
  if (columns.count("run") != 0) data.run = table.texts(columns.at("run"));
  return data;
}

LossRows loss_rows_of_table(const fitting::Table& table, const fitting::LossLawText& law,
                            const std::map<std::string, std::string>& columns) {
  LossRows rows{columns_of_table(table, law, columns), {}};
  rows.data.loss = table.numbers(column_of(columns, "loss"), true);
  if (columns.count("weight") != 0) rows.data.weight = table.numbers(columns.at("weight"));
  for (const auto& name : table.names()) rows.texts[name] = table.texts(name);
  for (const auto& [role, name] : columns) rows.texts[role] = table.texts(name);
  return rows;
}

LossRows loss_rows_of_study(const db::Store& store, const std::string& study, const std::string& metric,
                            bool every_evaluation) {
  const auto runs = load_study_runs(store, study, metric);
  LossRows rows;
  auto& columns = rows.data.columns;
  for (const auto& run : runs.runs) {
    const auto& design = runs.design(run.design_id);
    const auto x = law_covariates(design);
    const auto first = every_evaluation ? run.curve.begin() : run.curve.end() - 1;
    for (auto point = first; point != run.curve.end(); ++point) {
      if (!(point->value > 0) || point->tokens <= 0) continue;
      columns["N"].push_back(x.parameters);
      columns["D"].push_back(static_cast<double>(point->tokens));
      columns["x"].push_back(static_cast<double>(point->tokens));
      columns["window"].push_back(x.window);
      columns["nope"].push_back(x.nope);
      columns["full_fraction"].push_back(x.full_fraction);
      columns["sink"].push_back(x.sink);
      rows.data.loss.push_back(point->value);
      rows.data.run.push_back(run.trial_key);
      rows.texts["design"].push_back(design.layout_text());
      rows.texts["run"].push_back(run.trial_key);
    }
  }
  for (const auto& [name, values] : columns) {
    for (const double value : values) rows.texts[name].push_back(fmt::format("{}", value));
  }
  return rows;
}

void take_logarithm(LossRows& rows) {
  for (std::size_t i = 0; i < rows.data.loss.size(); ++i) {
    double& value = rows.data.loss[i];
    if (!(value > 1)) {
      throw model::InputError(fmt::format("point {}: the perplexity is {}; it must be above 1", i + 1, value));
    }
    value = std::log(value);
  }
}

std::vector<bool> held_out(const LossRows& rows, const std::string& rule) {
  std::vector<bool> mask(rows.data.loss.size(), false);
  const auto equal = rule.find('=');
  if (rule.rfind("largest:", 0) == 0) {
    const auto& values = rows.data.at(rule.substr(8));
    const auto largest = *std::max_element(values.begin(), values.end());
    std::transform(values.begin(), values.end(), mask.begin(), [&](double v) { return v == largest; });
  } else if (equal != std::string::npos) {
    const auto name = rule.substr(0, equal), wanted = rule.substr(equal + 1);
    const auto found = rows.texts.find(name);
    if (found == rows.texts.end()) {
      std::vector<std::string> names;
      names.reserve(rows.texts.size());
      for (const auto& [known, texts] : rows.texts) names.push_back(known);
      throw model::InputError(
          fmt::format("--holdout {}: no column '{}'; the columns are {}", rule, name, fmt::join(names, ", ")));
    }
    std::transform(found->second.begin(), found->second.end(), mask.begin(),
                   [&](const auto& v) { return same(v, wanted); });
  } else {
    throw model::InputError("--holdout takes largest:N or COLUMN=VALUE, not '" + rule + "'");
  }
  const auto count = std::count(mask.begin(), mask.end(), true);
  if (count == 0) throw model::InputError("--holdout " + rule + " holds out no row");
  if (count == static_cast<std::ptrdiff_t>(mask.size()))
    throw model::InputError("--holdout " + rule + " leaves no row");
  return mask;
}

}  // namespace hylas::search
