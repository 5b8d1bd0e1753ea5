// Terms by name, centring, and dropping of columns that say nothing.
#include "fitting/covariates.hpp"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

namespace hylas::fitting {
namespace {

// Designs matched in size differ by up to 1% in N: a slope in it would stand for whatever else differs between them.
constexpr double kLeastRatioOfN = 1.02;

const double* find_indicator(const DesignCovariates& design, const std::string& name) {
  for (const auto& [key, value] : design.indicators) {
    if (key == name) return &value;
  }
  return nullptr;
}

double indicator(const DesignCovariates& design, const std::string& name) {
  const double* value = find_indicator(design, name);
  return value != nullptr ? *value : 0;
}

// ln of a depth or width, centred; else the design's own indicator of that name.
double log_of_size(const DesignCovariates& x, const std::string& name, double size, double centre) {
  if (size > 0) return std::log(size) - centre;
  const double* own = find_indicator(x, name);
  if (own == nullptr) {
    throw InputError(fmt::format("the term {} needs the {} of every design", name,
                                 name == "ln_depth" ? "depth (number of layers)" : "width (d_model)"));
  }
  return *own;
}

double term_value(const Columns& columns, const DesignCovariates& x, const std::string& name) {
  const double n = std::log(x.parameters) - columns.log_n0;
  const double w = x.window > 0 ? std::log(x.window) - columns.log_w0 : 0;
  if (name == "ln_N") return n;
  if (name == "ln_window") return w;
  if (name == "ln_window^2") return w * w;
  if (name == "nope") return x.nope;
  if (name == "nope*ln_window") return x.nope * w;
  if (name == "nope*ln_window^2") return x.nope * w * w;
  if (name == "nope*no_swa") return x.window > 0 ? 0 : x.nope;
  if (name == "ln_window*ln_N") return w * n;
  if (name == "ln_full_fraction") return x.full_fraction > 0 ? std::log(x.full_fraction) : 0;
  if (name == "sink") return x.sink;
  if (name == "no_swa") return x.window > 0 ? 0 : 1;
  if (name == "no_full") return x.full_fraction > 0 ? 0 : 1;
  if (name == "ln_depth") return log_of_size(x, name, x.depth, columns.log_depth0);
  if (name == "ln_width") return log_of_size(x, name, x.width, columns.log_width0);
  return indicator(x, name);
}

bool is_indicator(const std::vector<DesignCovariates>& runs, const std::string& name) {
  return std::ranges::any_of(runs, [&](const DesignCovariates& x) {
    return std::ranges::any_of(x.indicators, [&](const auto& entry) { return entry.first == name; });
  });
}

void check_values(const DesignCovariates& x) {
  if (!(x.parameters > 0) || !std::isfinite(x.parameters)) {
    throw InputError(fmt::format("N is {}; it must be a positive number of parameters", x.parameters));
  }
  if (!(x.window >= 0) || !std::isfinite(x.window)) {
    throw InputError(
        fmt::format("the window is {}; it must be positive, or 0 for a design without window layers", x.window));
  }
  if (!(x.full_fraction >= 0 && x.full_fraction <= 1)) {
    throw InputError(fmt::format("the full fraction is {}; it must lie in [0, 1]", x.full_fraction));
  }
  if (!(x.depth >= 0 && x.width >= 0) || !std::isfinite(x.depth) || !std::isfinite(x.width)) {
    throw InputError(
        fmt::format("depth {} and width {}: they must be positive, or 0 where they are not told", x.depth, x.width));
  }
  for (const auto& [name, value] : x.indicators) {
    if (!std::isfinite(value)) throw InputError(fmt::format("the indicator '{}' is not a finite number", name));
  }
  if (!std::isfinite(x.nope) || !std::isfinite(x.sink)) throw InputError("NoPE and sink shares must be finite numbers");
}

// ln of the geometric mean over the runs where the number is positive; 0 where it is for none.
double mean_log(const std::vector<DesignCovariates>& runs, double DesignCovariates::*number) {
  double sum = 0;
  int count = 0;
  for (const DesignCovariates& x : runs) {
    if (x.*number <= 0) continue;
    sum += std::log(x.*number);
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

// Centres and ranges over the runs.
void summarise(Columns& columns, const std::vector<DesignCovariates>& runs) {
  columns.n_min = columns.n_max = runs.front().parameters;
  for (const DesignCovariates& x : runs) {
    check_values(x);
    columns.n_min = std::min(columns.n_min, x.parameters);
    columns.n_max = std::max(columns.n_max, x.parameters);
    if (x.window <= 0) continue;
    columns.window_min = columns.window_max == 0 ? x.window : std::min(columns.window_min, x.window);
    columns.window_max = std::max(columns.window_max, x.window);
  }
  columns.log_n0 = mean_log(runs, &DesignCovariates::parameters);
  columns.log_w0 = mean_log(runs, &DesignCovariates::window);
  columns.log_depth0 = mean_log(runs, &DesignCovariates::depth);
  columns.log_width0 = mean_log(runs, &DesignCovariates::width);
}

}  // namespace

std::vector<std::string> known_terms() {
  return {"ln_N", "ln_window", "nope",    "nope*ln_window", "ln_window^2",      "ln_window*ln_N", "ln_full_fraction",
          "sink", "no_swa",    "no_full", "nope*no_swa",    "nope*ln_window^2", "ln_depth",       "ln_width"};
}

std::vector<std::string> default_terms() {
  return {"ln_N",        "ln_window",        "nope",    "no_swa", "nope*ln_window",
          "ln_window^2", "ln_full_fraction", "no_full", "sink"};
}

Columns choose_columns(const std::vector<DesignCovariates>& runs, const std::vector<std::string>& wanted) {
  if (runs.empty()) throw InputError("no runs");
  Columns columns;
  summarise(columns, runs);
  const std::vector<std::string> known = known_terms();
  const auto rows = static_cast<Eigen::Index>(runs.size());
  std::vector<Eigen::VectorXd> basis = {Eigen::VectorXd::Constant(rows, 1 / std::sqrt(static_cast<double>(rows)))};
  for (const std::string& name : wanted) {
    if (std::ranges::find(known, name) == known.end() && !is_indicator(runs, name)) {
      throw InputError(fmt::format("unknown covariate '{}'; the terms are {}, and the indicators of the runs", name,
                                   fmt::join(known, ", ")));
    }
    if (std::ranges::find(columns.names, name) != columns.names.end()) {
      throw InputError(fmt::format("the covariate '{}' is given twice", name));
    }
    Eigen::VectorXd v(rows);
    for (Eigen::Index i = 0; i < rows; ++i) v[i] = term_value(columns, runs[static_cast<std::size_t>(i)], name);
    const double norm = v.norm();
    if ((name == "ln_N" || name == "ln_window*ln_N") && columns.n_max < kLeastRatioOfN * columns.n_min) {
      columns.dropped.emplace_back(name, columns.n_max > columns.n_min
                                             ? "N differs by under 2% between runs, too little to tell its effect"
                                             : "it is the same for every run");
      continue;
    }
    if (v.maxCoeff() - v.minCoeff() <= 1e-12 * std::max(1.0, norm)) {
      columns.dropped.emplace_back(name, "it is the same for every run");
      continue;
    }
    for (int pass = 0; pass < 2; ++pass) {  // Gram-Schmidt, twice for accuracy
      for (const Eigen::VectorXd& b : basis) v -= b.dot(v) * b;
    }
    if (v.norm() <= 1e-6 * norm) {
      columns.dropped.emplace_back(name, "it is a combination of the columns before it");
      continue;
    }
    basis.push_back(v / v.norm());
    columns.names.push_back(name);
  }
  return columns;
}

std::vector<double> row_of(const Columns& columns, const DesignCovariates& design) {
  check_values(design);
  std::vector<double> row;
  row.reserve(columns.names.size());
  for (const std::string& name : columns.names) row.push_back(term_value(columns, design, name));
  return row;
}

}  // namespace hylas::fitting
