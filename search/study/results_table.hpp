// What a study's trials came to: a row for each design and recipe, tuned. Trials that differ in nothing but seeds are
// one setting; settings that differ in nothing but learning rate and weight decay compete, and the best stays.
//
// A trial's value is that of its last evaluation; a diverged or failed trial has none, and a setting with one such
// trial loses against any without. Accuracies are better when larger, losses, bits and perplexities when smaller.
// Errors: InputError (no such study, a metric nobody recorded), StoreError. Thread-safety: pure but for the store.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "db/store.hpp"

namespace hylas::search {

struct ResultRow {
  std::string layout, design_id;
  // What differs between the study's rows: "context", "d_model", "task.pairs", ... with this row's value.
  std::vector<std::pair<std::string, std::string>> varying;
  double learning_rate = 0, weight_decay = 0;
  std::int64_t competitors = 0;  // settings of learning rate and weight decay that were tried
  std::int64_t seeds = 0, finished = 0;
  std::int64_t tokens = 0;  // the most that a seed was trained on
  struct Value {
    std::string metric;
    double mean = 0, least = 0, most = 0;
    std::int64_t runs = 0;
  };
  std::vector<Value> values;  // of each metric
};

struct ResultsTable {
  std::string study;
  std::vector<std::string> metrics;
  std::vector<ResultRow> rows;  // in the order of their first trial
};

// metrics empty: the capability's. The first one judges learning rates.
[[nodiscard]] ResultsTable results_table(const db::Store& store, const std::string& study,
                                         const std::vector<std::string>& metrics);

}  // namespace hylas::search
