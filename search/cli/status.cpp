// hylas status --db F: trials by state, throughput, time left.
#include <fmt/format.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/store_options.hpp"
#include "search/report/plot.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
};

struct Status {
  std::string study;
  std::map<db::TrialState, std::int64_t> states;
  double tokens = 0;       // trained, as far as recorded
  double tokens_left = 0;  // of trials that have not ended, if none stops early
  double seconds = 0;      // spent by all workers
  std::size_t workers = 0;

  [[nodiscard]] double rate() const { return seconds > 0 ? tokens / seconds : 0; }
  // With as many workers as now (at least one); negative where no trial has run yet.
  [[nodiscard]] double seconds_left() const {
    return rate() > 0 ? tokens_left / rate() / static_cast<double>(std::max<std::size_t>(workers, 1)) : -1;
  }
};

Status status_of(const db::Store& store, const db::Study& study) {
  Status status;
  status.study = study.name;
  std::set<std::string> owners;
  for (const auto& trial : store.trials(study.id)) {
    ++status.states[trial.state];
    status.tokens += static_cast<double>(trial.step * trial.tokens_per_step);
    status.seconds += trial.wall_seconds;
    if (!db::is_finished(trial.state)) {
      status.tokens_left += static_cast<double>((trial.steps - trial.step) * trial.tokens_per_step);
    }
    if (trial.state == db::TrialState::running) owners.insert(trial.owner);
  }
  status.workers = owners.size();
  return status;
}

std::string as_json(const Status& status) {
  auto states = nlohmann::ordered_json::object();
  for (const auto& [state, count] : status.states) states[std::string(db::to_string(state))] = count;
  const auto left = status.seconds_left();
  return nlohmann::ordered_json{
      {"study", status.study},
      {"trials", states},
      {"tokens", status.tokens},
      {"tokens_left_at_most", status.tokens_left},
      {"seconds", status.seconds},
      {"tokens_per_second", status.rate()},
      {"workers", status.workers},
      {"seconds_left_at_most", left < 0 ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(left)}}
      .dump(2);
}

std::string as_text(const Status& status) {
  std::string states;
  for (const auto& [state, count] : status.states) {
    states += fmt::format("{}{} {}", states.empty() ? "" : ", ", count, db::to_string(state));
  }
  auto text = fmt::format("study {}: {}\n", status.study, states);
  text += fmt::format("trained {} tokens in {:.1f} s, {} tokens/s a worker, {} workers now\n",
                      search::short_number(status.tokens), status.seconds, search::short_number(status.rate()),
                      status.workers);
  if (status.tokens_left <= 0) return text + "nothing is left to train\n";
  text += fmt::format("left: {} tokens at most", search::short_number(status.tokens_left));
  if (status.seconds_left() >= 0) text += fmt::format(", {:.0f} s at most with as many workers", status.seconds_left());
  return text + "\n";
}

int run(const Options& options) {
  const auto store = options.store.open(db::Access::read);
  const auto status = status_of(store, search::choose_study(store, options.store.study));
  print(options.common.json ? as_json(status) : as_text(status));
  return exit_ok;
}

}  // namespace

void add_status(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, program.app, "status", "trials by state, throughput, time left",
                              "hylas status --db demo.db", options->common, [options] { return run(*options); });
  options->store.add_to(*command);
}

}  // namespace hylas::cli
