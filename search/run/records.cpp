// model/ types to db/ records, and the provenance of a run.
#include "search/run/records.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "model/design/cost.hpp"
#include "search/report/design_json.hpp"

namespace hylas::search {
namespace {

// The rest of the first line of a file that starts with `key`, blanks and colons before it dropped.
std::string field_of(const char* file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t start = line.find_first_not_of(" \t:", key.size());
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

double kilobytes(const std::string& text) {
  double value = 0;
  std::istringstream(text) >> value;
  return value * 1024;
}

}  // namespace

db::Design design_record(const model::Design& design) {
  const model::Cost cost = model::cost_of(design);
  db::Design record;
  record.design_id = design.id();
  record.canonical = design.canonical();
  record.layout = design.layout_text();
  record.shape_json = shape_json(design.shape).dump();
  record.parameters_total = cost.parameters_total;
  record.parameters_non_embedding = cost.parameters_non_embedding;
  record.flops_forward = cost.flops_forward;
  record.flops_train = cost.flops_train;
  record.cache_bytes = cost.cache_bytes;
  return record;
}

db::NewTrial trial_record(const model::TrialSpec& spec) {
  const model::Recipe& recipe = spec.recipe;
  db::NewTrial record;
  record.trial_key = model::trial_key(spec.design, recipe);
  record.design_id = spec.design.id();
  record.recipe_json = recipe.canonical_json();
  record.protocol_json = model::protocol_json(recipe, spec.design.shape);
  record.cohort_key = model::cohort_key(spec.design, recipe);
  record.seed = recipe.seed;
  record.steps = recipe.steps;
  record.tokens_per_step = recipe.batch * spec.design.shape.context;
  record.capability_metric = recipe.capability.metric;
  record.capability_threshold = recipe.capability.threshold;
  record.capability_stop_at = recipe.capability.stop_at;
  return record;
}

std::string machine_json(int threads) {
  struct utsname system {};
  uname(&system);
  const nlohmann::json json = {
      {"host", system.nodename},
      {"system", std::string(system.sysname) + " " + system.release + " " + system.machine},
      {"cpu", field_of("/proc/cpuinfo", "model name")},
      {"logical_cpus", std::thread::hardware_concurrency()},
      {"memory_bytes", kilobytes(field_of("/proc/meminfo", "MemTotal"))},
      {"threads", threads},
  };
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

double available_memory_bytes() {
  return kilobytes(field_of("/proc/meminfo", "MemAvailable"));
}

}  // namespace hylas::search
