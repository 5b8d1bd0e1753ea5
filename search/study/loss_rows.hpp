// What a loss law is fitted to, whether it came out of a store or out of a table: rows of the law's columns with a
// loss.
//
// Of a study: N and the design's covariates (law_covariates of search/advise/recommend.hpp), D = tokens, the loss at
// each run's last evaluation or at all of them, and the trial as the run. Points in the middle of a schedule are not
// the loss that a run of that length would have (MATHS 1): ask for them only where the law knows the schedule. Errors:
// InputError naming line and column, or what the study lacks.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "db/store.hpp"
#include "fitting/loss.hpp"
#include "fitting/table.hpp"

namespace hylas::search {

struct LossRows {
  fitting::LossData data;
  std::map<std::string, std::vector<std::string>> texts;  // columns that --holdout may name, as they were written
};

// columns: what the law calls a column -> what the table does; names that are missing are the law's own.
[[nodiscard]] LossRows loss_rows_of_table(const fitting::Table& table, const fitting::LossLawText& law,
                                          const std::map<std::string, std::string>& columns);
// The law's columns and the runs alone: rows to predict.
[[nodiscard]] fitting::LossData columns_of_table(const fitting::Table& table, const fitting::LossLawText& law,
                                                 const std::map<std::string, std::string>& columns);
[[nodiscard]] LossRows loss_rows_of_study(const db::Store& store, const std::string& study, const std::string& metric,
                                          bool every_evaluation);

// The loss is a perplexity: its logarithm takes its place. InputError where one is not above 1.
void take_logarithm(LossRows& rows);

// True for the rows that are held out: `largest:N` (the rows with the largest N), or COLUMN=VALUE.
[[nodiscard]] std::vector<bool> held_out(const LossRows& rows, const std::string& rule);

}  // namespace hylas::search
