// Runs out of a table, as a fit of emergence takes them: long format, one row an evaluation of one run.
//
// Columns by role: seed, tokens and value are needed; design (else design_id, else the covariates tell designs apart),
// count (scored positions behind a value; F1 needs it), the covariates N, window, full_fraction, nope, sink (left out:
// the same for all), metric (rows of one are chosen), step, state (rows of trials that diverged or failed are left
// out), layout (a label), and depth and width, read where a term needs them. A role's column is the one named so unless
// --columns says otherwise; the CSV of `hylas export` therefore reads as it is. A row has tokens 0 only at step 0,
// before training.
//
// Rows of one design and seed are one run, in any order. A table of averages over seeds cannot be read: the seed column
// is required, and two rows of one run at one token count are refused. Errors: fitting::InputError with file, line and
// column. Thread-safety: pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fitting/table.hpp"
#include "search/study/emergence_data.hpp"

namespace hylas::search {

struct EmergenceTableOptions {
  std::map<std::string, std::string> columns;  // role: column
  std::string metric;                          // "": the only one there is
  std::optional<double> threshold;             // 0.5
  std::vector<std::string> indicators;         // further numeric columns that a law may use as terms
  std::vector<std::string> sizes;              // of depth and width, those to read: see size_roles()
  bool counts = false;                         // the law needs counts
};

[[nodiscard]] std::vector<std::string> emergence_roles();
// Of `terms`: those that are columns of the table and no terms that every law knows; of the latter, ln_depth and
// ln_width where the table has columns of these very names.
[[nodiscard]] std::vector<std::string> indicator_columns(const fitting::Table& table,
                                                         const std::vector<std::string>& terms);
// Which of the roles depth and width `terms` need: for ln_depth and ln_width that are no columns of the table.
[[nodiscard]] std::vector<std::string> size_roles(const fitting::Table& table, const std::vector<std::string>& terms);
[[nodiscard]] EmergenceData read_emergence_table(const fitting::Table& table, const EmergenceTableOptions& options);

}  // namespace hylas::search
