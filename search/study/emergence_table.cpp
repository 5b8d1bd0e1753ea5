// See emergence_table.hpp.
#include "search/study/emergence_table.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <set>
#include <utility>

#include "fitting/input_error.hpp"
#include "model/design/input_error.hpp"

namespace hylas::search {
namespace {

using fitting::InputError;
using fitting::Table;

const std::vector<std::string> kCovariates = {"N", "window", "full_fraction", "nope", "sink"};

// Which column plays which role.
class Roles {
 public:
  Roles(const Table& table, const EmergenceTableOptions& options) : table_(table), columns_(options.columns) {
    for (const auto& [role, column] : columns_) (void)table.texts(column);  // an unknown one ends it here
    if (columns_.count("design") == 0 && !table.has("design") && table.has("design_id"))
      columns_["design"] = "design_id";
  }

  // "" where the role has no column.
  [[nodiscard]] std::string column(const std::string& role) const {
    const auto found = columns_.find(role);
    if (found != columns_.end()) return found->second;
    return table_.has(role) ? role : "";
  }

  [[nodiscard]] std::string needed(const std::string& role, const std::string& why) const {
    if (auto name = column(role); !name.empty()) return name;
    throw InputError(fmt::format("{}: no column '{}'; {}; name it with --columns {}=COLUMN (the columns are {})",
                                 table_.source(), role, why, role, fmt::join(table_.names(), ", ")));
  }

 private:
  const Table& table_;
  std::map<std::string, std::string> columns_;
};

[[noreturn]] void refuse(const Table& table, std::size_t row, const std::string& column, const std::string& what) {
  throw InputError(fmt::format("{}, line {}, column '{}': {}", table.source(), table.line_of(row), column, what));
}

std::vector<bool> equal_to(const std::vector<std::string>& values, const std::string& wanted) {
  std::vector<bool> mask(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) mask[i] = values[i] == wanted;
  return mask;
}

// The rows of one metric.
Table of_metric(const Table& table, const Roles& roles, const std::string& metric, std::string& name) {
  const auto column = roles.column("metric");
  if (column.empty()) {
    if (!metric.empty()) {
      throw InputError(
          fmt::format("{}: --metric {} is given, but there is no column 'metric'; name it with --columns "
                      "metric=COLUMN or leave --metric out",
                      table.source(), metric));
    }
    name = roles.column("value");
    return table;
  }
  const auto values = table.texts(column);
  const std::set<std::string> known(values.begin(), values.end());
  name = metric;
  if (metric.empty() && known.size() == 1) name = *known.begin();
  if (known.count(name) != 0) return table.where(equal_to(values, name));
  const std::vector<std::string> names(known.begin(), known.end());
  const auto guess = model::nearest(metric, names);
  throw InputError(metric.empty() ? fmt::format("{} holds {} metrics; choose one with --metric: {}", table.source(),
                                                names.size(), fmt::join(names, ", "))
                                  : fmt::format("{}: no row has the metric '{}'; {}", table.source(), metric,
                                                guess.empty() ? fmt::format("there are {}", fmt::join(names, ", "))
                                                              : "did you mean '" + guess + "'?"));
}

// The numbers of one table, checked row by row.
struct Numbers {
  std::vector<double> seed, tokens, value, count;
  std::vector<std::pair<std::string, std::vector<double>>> covariates;  // by role or indicator, those there are
  std::vector<std::string> columns;                                     // their columns
  std::size_t indicators = 0;                                           // the first of them that is an indicator
};

void check_tokens(const Table& table, const Roles& roles, const Numbers& numbers) {
  const auto column = roles.column("tokens"), step = roles.column("step");
  const auto steps = step.empty() ? std::vector<double>() : table.numbers(step);
  for (std::size_t i = 0; i < table.rows(); ++i) {
    const bool before_training = numbers.tokens[i] == 0 && !steps.empty() && steps[i] == 0;
    if (numbers.tokens[i] <= 0 && !before_training) {
      refuse(table, i, column, fmt::format("tokens must be positive, not {}", numbers.tokens[i]));
    }
  }
}

void check_covariate(const Table& table, const std::string& role, const std::string& column,
                     const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double x = values[i];
    if (role == "N" && x <= 0) refuse(table, i, column, fmt::format("N must be positive, not {}", x));
    if ((role == "depth" || role == "width") && x <= 0) {
      refuse(table, i, column, fmt::format("a {} must be positive, not {}", role, x));
    }
    if (role == "window" && x < 0) {
      refuse(table, i, column, fmt::format("a window is positive, or 0 where there is none, not {}", x));
    }
    if ((role == "full_fraction" || role == "nope" || role == "sink") && (x < 0 || x > 1)) {
      refuse(table, i, column, fmt::format("{} is a share and lies in [0, 1], not {}", role, x));
    }
  }
}

Numbers read_numbers(const Table& table, const Roles& roles, const EmergenceTableOptions& options) {
  Numbers numbers;
  const auto seed = roles.needed("seed",
                                 "a run is one design with one seed, and seeds are bimodal at emergence: a mean over "
                                 "seeds has a D50 that no run has. Give the runs one by one");
  numbers.seed = table.numbers(seed);
  for (std::size_t i = 0; i < numbers.seed.size(); ++i) {
    if (numbers.seed[i] != std::floor(numbers.seed[i]) || std::abs(numbers.seed[i]) > 1e15) {
      refuse(table, i, seed, fmt::format("a seed is a whole number, not {}", numbers.seed[i]));
    }
  }
  numbers.tokens = table.numbers(roles.needed("tokens", "the tokens trained on at an evaluation are needed"));
  check_tokens(table, roles, numbers);
  const auto value = roles.needed("value", "the capability at an evaluation is needed, in [0, 1]");
  numbers.value = table.numbers(value);
  for (std::size_t i = 0; i < numbers.value.size(); ++i) {
    if (numbers.value[i] < 0 || numbers.value[i] > 1) {
      refuse(table, i, value, fmt::format("an accuracy must lie in [0, 1], not {}", numbers.value[i]));
    }
  }
  if (options.counts) {
    numbers.count =
        table.numbers(roles.needed("count", "F1 needs the number of scored positions behind each accuracy"), true);
  }
  const auto add = [&](const std::string& name, const std::string& column) {
    numbers.covariates.emplace_back(name, table.numbers(column));
    numbers.columns.push_back(column);
  };
  const auto add_role = [&](const std::string& name, const std::string& column) {
    add(name, column);
    check_covariate(table, name, column, numbers.covariates.back().second);
  };
  for (const auto& name : kCovariates) {
    if (const auto column = roles.column(name); !column.empty()) add_role(name, column);
  }
  for (const auto& name : options.sizes) {
    add_role(name, roles.needed(name, fmt::format("the term ln_{} needs it of every design", name)));
  }
  numbers.indicators = numbers.covariates.size();
  for (const auto& name : options.indicators) {
    if (std::find(kCovariates.begin(), kCovariates.end(), name) != kCovariates.end()) continue;
    if (const auto column = roles.column(name); !column.empty()) add(name, column);
  }
  return numbers;
}

fitting::DesignCovariates covariates_at(const Numbers& numbers, std::size_t row) {
  fitting::DesignCovariates x;
  x.parameters = 1;  // the same for all where no column says
  for (std::size_t j = 0; j < numbers.covariates.size(); ++j) {
    const auto& name = numbers.covariates[j].first;
    const double v = numbers.covariates[j].second[row];
    if (j >= numbers.indicators) {
      x.indicators.emplace_back(name, v);
    } else if (name == "N") {
      x.parameters = v;
    } else if (name == "window") {
      x.window = v;
    } else if (name == "full_fraction") {
      x.full_fraction = v;
    } else if (name == "nope") {
      x.nope = v;
    } else if (name == "sink") {
      x.sink = v;
    } else if (name == "depth") {
      x.depth = v;
    } else {
      x.width = v;
    }
  }
  return x;
}

std::string described(const Numbers& numbers, std::size_t row) {
  std::string text;
  for (const auto& [name, values] : numbers.covariates) {
    text += fmt::format("{}{}={:g}", text.empty() ? "" : " ", name, values[row]);
  }
  return text.empty() ? "all runs" : text;
}

std::string run_text(const std::string& design, double seed) {
  return fmt::format("design '{}', seed {}", design, static_cast<std::int64_t>(seed));
}

// Groups rows into designs and runs.
class Builder {
 public:
  Builder(const Table& table, const Roles& roles, const Numbers& numbers)
      : table_(table), roles_(roles), numbers_(numbers) {
    const auto design = roles.column("design"), layout = roles.column("layout");
    if (!design.empty()) names_ = table.texts(design);
    if (!layout.empty()) labels_ = table.texts(layout);
  }

  void add_row(std::size_t row) {
    const auto name = names_.empty() ? described(numbers_, row) : names_[row];
    const auto [entry, fresh] = designs_.emplace(name, data_.designs.size());
    if (fresh) {
      data_.designs.push_back({name, labels_.empty() ? name : labels_[row], covariates_at(numbers_, row), {}});
      first_.push_back(row);
    }
    check_constant(name, first_[entry->second], row);
    const auto seed = static_cast<std::int64_t>(numbers_.seed[row]);
    const auto [run, fresh_run] = runs_.emplace(std::pair{entry->second, seed}, data_.runs.size());
    if (fresh_run) {
      data_.runs.push_back({entry->second, seed, "", {}, {}});
      rows_.emplace_back();
    }
    rows_[run->second].push_back(row);
  }

  EmergenceData finish(double threshold) {
    data_.threshold = threshold;
    for (std::size_t i = 0; i < data_.runs.size(); ++i) fill(data_.runs[i], rows_[i]);
    return std::move(data_);
  }

 private:
  void check_constant(const std::string& design, std::size_t first, std::size_t row) const {
    for (std::size_t j = 0; j < numbers_.covariates.size(); ++j) {
      const auto& values = numbers_.covariates[j].second;
      if (values[row] == values[first]) continue;
      refuse(table_, row, numbers_.columns[j],
             fmt::format("{} has {} here and {} in line {}; a covariate belongs to the design and is the same in all "
                         "its rows",
                         run_text(design, numbers_.seed[row]), values[row], values[first], table_.line_of(first)));
    }
  }

  void fill(DataRun& run, std::vector<std::size_t> rows) const {
    const auto& design = data_.designs[run.design].name;
    const auto name = run_text(design, static_cast<double>(run.seed));
    std::stable_sort(rows.begin(), rows.end(),
                     [&](std::size_t a, std::size_t b) { return numbers_.tokens[a] < numbers_.tokens[b]; });
    for (std::size_t i = 1; i < rows.size(); ++i) {
      if (numbers_.tokens[rows[i]] != numbers_.tokens[rows[i - 1]]) continue;
      refuse(table_, rows[i], roles_.column("tokens"),
             fmt::format("{} has {} tokens in line {} too; a run is evaluated once at a token count, and runs that "
                         "differ in more than the seed need designs of their own",
                         name, numbers_.tokens[rows[i]], table_.line_of(rows[i - 1])));
    }
    if (rows.size() < 2) {
      refuse(table_, rows.front(), roles_.column("tokens"),
             fmt::format("{} has this one evaluation; two at least are needed to see a crossing", name));
    }
    std::vector<double> tokens, values;
    for (const auto row : rows) {
      run.curve.push_back(
          {numbers_.tokens[row], numbers_.value[row], numbers_.count.empty() ? 0 : numbers_.count[row]});
      tokens.push_back(numbers_.tokens[row]);
      values.push_back(numbers_.value[row]);
    }
    run.crossing = fitting::crossing_of(tokens, values, data_.threshold);
  }

  const Table& table_;
  const Roles& roles_;
  const Numbers& numbers_;
  std::vector<std::string> names_, labels_;
  std::map<std::string, std::size_t> designs_;
  std::map<std::pair<std::size_t, std::int64_t>, std::size_t> runs_;
  std::vector<std::size_t> first_;              // row of each design
  std::vector<std::vector<std::size_t>> rows_;  // of each run
  EmergenceData data_;
};

// The role behind a term of a design's size; null for other terms.
const char* role_of_size(const std::string& term) {
  return term == "ln_depth" ? "depth" : term == "ln_width" ? "width" : nullptr;
}

// Trials that diverged or failed, as `hylas export` marks them.
Table without_broken(const Table& table, const Roles& roles, std::int64_t& left_out) {
  const auto column = roles.column("state");
  if (column.empty()) return table;
  const auto states = table.texts(column);
  const auto key = table.has("trial_key") ? table.texts("trial_key") : std::vector<std::string>();
  std::vector<bool> keep;
  std::set<std::string> broken;
  for (std::size_t i = 0; i < states.size(); ++i) {
    keep.push_back(states[i] != "diverged" && states[i] != "failed");
    if (!keep.back()) broken.insert(key.empty() ? std::to_string(i) : key[i]);
  }
  left_out = static_cast<std::int64_t>(broken.size());
  return table.where(keep);
}

}  // namespace

std::vector<std::string> emergence_roles() {
  return {"design", "seed",   "tokens", "value",  "count", "N",     "window", "nope",
          "sink",   "metric", "step",   "layout", "state", "depth", "width",  "full_fraction"};
}

std::vector<std::string> indicator_columns(const Table& table, const std::vector<std::string>& terms) {
  const auto known = fitting::known_terms();
  std::vector<std::string> found;
  for (const auto& name : terms) {
    const bool free = std::find(known.begin(), known.end(), name) == known.end() || role_of_size(name) != nullptr;
    const bool is_new = std::find(found.begin(), found.end(), name) == found.end();
    if (free && is_new && table.has(name)) found.push_back(name);
  }
  return found;
}

std::vector<std::string> size_roles(const Table& table, const std::vector<std::string>& terms) {
  std::vector<std::string> found;
  for (const auto& term : terms) {
    const char* role = role_of_size(term);
    if (role == nullptr || table.has(term)) continue;
    if (std::find(found.begin(), found.end(), role) == found.end()) found.emplace_back(role);
  }
  return found;
}

EmergenceData read_emergence_table(const Table& whole, const EmergenceTableOptions& options) {
  const double threshold = options.threshold.value_or(0.5);
  if (!std::isfinite(threshold)) throw model::InputError("the threshold must be a finite number");
  const Roles roles(whole, options);
  if (whole.rows() == 0) throw InputError(whole.source() + ": no rows below the header");
  std::string metric;
  std::int64_t left_out = 0;
  const auto table = without_broken(of_metric(whole, roles, options.metric, metric), roles, left_out);
  if (table.rows() == 0) throw InputError(whole.source() + ": every row is of a trial that diverged or failed");
  const auto numbers = read_numbers(table, roles, options);
  Builder builder(table, roles, numbers);
  for (std::size_t row = 0; row < table.rows(); ++row) builder.add_row(row);
  auto data = builder.finish(threshold);
  data.title = std::filesystem::path(whole.source()).filename().string();
  data.metric = metric;
  data.left_out = left_out;
  make_labels_unique(data);
  leave_out_silent(data);
  return data;
}

}  // namespace hylas::search
