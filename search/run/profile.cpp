// The profile's sums and its table.
#include "search/run/profile.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace hylas::search {

void Profile::add(const Profile& worker) {
  training += worker.training;
  evaluation += worker.evaluation;
  store += worker.store;
  checkpoints += worker.checkpoints;
  total += worker.total;
}

double Profile::other() const {
  return std::max(0.0, total - training - evaluation - store - checkpoints);
}

double Profile::overhead_share() const {
  return total > 0 ? std::max(0.0, total - training - evaluation) / total : 0;
}

std::string Profile::text() const {
  std::string table = fmt::format("{:<12} {:>10} {:>7}\n", "", "seconds", "share");
  auto row = [&](const char* name, double seconds) {
    table += fmt::format("{:<12} {:>10.3f} {:>6.2f}%\n", name, seconds, total > 0 ? 100 * seconds / total : 0);
  };
  row("training", training);
  row("evaluation", evaluation);
  row("store", store);
  row("checkpoints", checkpoints);
  row("other", other());
  row("total", total);
  table += fmt::format("outside training and evaluation: {:.2f}%\n", 100 * overhead_share());
  return table;
}

}  // namespace hylas::search
