// How long a sweep will take: what is planned equals plan_sweep(), a row a cohort kind, tuning included, nothing
// written.
#include <cmath>
#include <filesystem>
#include <set>

#include "search/run/group_size.hpp"
#include "search/run/throughput.hpp"
#include "search/study/plan_text.hpp"
#include "tests/catch.hpp"
#include "tests/search/program.hpp"
#include "tests/search/test_run_support.hpp"

using namespace hylas;
using hylas::test::run_program;
using hylas::test::TempDir;
using nlohmann::json;
using search::parse_space;

namespace {

// Windows and plain attention train together; another operator is a kind of its own. Rates that would diverge at once.
std::string space_text(const std::string& patterns, const std::string& rest = "") {
  return "[study]\nname = \"s\"\n[shape]\nd_model = 16\nheads = 1\nffn = 16\ncontext = 32\n[space]\npatterns = [" +
         patterns +
         "]\n[task]\nname = \"recall\"\nkeys = 8\nvalues = 8\n[recipe]\nsteps = 12\nbatch = 2\nseeds = 2\n"
         "eval = { sequences = 4, growth = 0.0, min_steps = 6 }\n" +
         rest;
}

const std::string kTwoKinds = R"("swa:4 full", "full*2", "gdn full")";
const std::string kTuning = "[tuning]\nlearning_rates = [1e-3, 1e5]\nseeds = [101]\n";
constexpr search::MeasureOptions kShort{.seconds = 0.02, .total_seconds = 1};

search::SweepOptions on_cpu() {
  search::SweepOptions options;
  options.threads = 2;
  return options;
}

}  // namespace

TEST_CASE("A plan has a row a cohort kind, and adds up to what plan_sweep says") {
  const auto space = parse_space(space_text(kTwoKinds));
  const auto plan = search::measure_plan(space, on_cpu(), kShort);
  const auto totals = search::plan_sweep(space);
  CHECK(plan.device == "cpu");
  CHECK(plan.devices == 1);
  REQUIRE(plan.cohorts.size() == 2);
  CHECK(plan.cohorts[0].text == "16 x 2, context 32, full+swa");
  CHECK(plan.cohorts[1].text == "16 x 2, context 32, full+gdn");
  std::int64_t trials = 0, tokens = 0;
  double flops = 0, hours = 0;
  for (const auto& cohort : plan.cohorts) {
    INFO(cohort.text);
    CHECK(cohort.study == "s");
    CHECK(cohort.together == cohort.trials);
    CHECK(cohort.steps >= 2);
    CHECK(cohort.tokens_per_second > 0);
    CHECK(std::isfinite(cohort.tokens_per_second));
    CHECK(std::abs(cohort.hours() * 3600 * cohort.tokens_per_second / static_cast<double>(cohort.tokens) - 1) < 1e-12);
    trials += cohort.trials, tokens += cohort.tokens, flops += cohort.flops, hours += cohort.hours();
  }
  CHECK(plan.cohorts[0].trials == 4);
  CHECK(plan.cohorts[1].trials == 2);
  CHECK(trials == totals.trials);
  CHECK(tokens == totals.tokens);
  CHECK(tokens == 6 * 12 * 2 * 32);
  CHECK(std::abs(flops / totals.flops - 1) < 1e-12);
  CHECK(plan.totals.tokens == totals.tokens);
  CHECK(plan.hours() == hours);
  // The same without a study around it.
  const auto cohorts = search::measure_cohorts(space.trials, on_cpu(), kShort);
  REQUIRE(cohorts.size() == 2);
  CHECK(cohorts[0].tokens == plan.cohorts[0].tokens);
  CHECK(cohorts[1].cohort_key == plan.cohorts[1].cohort_key);
}

TEST_CASE("Trials go through in groups of what was asked for; kinds that look the same say more of themselves") {
  auto options = on_cpu();
  options.max_cohort = 3;
  const auto space =
      parse_space(space_text(R"("swa:4 full", "full*2")") + "[[variant]]\nbatch = 2\n[[variant]]\nbatch = 4\n");
  const auto plan = search::measure_plan(space, options, kShort);
  REQUIRE(plan.cohorts.size() == 2);
  for (const auto& cohort : plan.cohorts) {
    CHECK(cohort.trials == 4);
    CHECK(cohort.together == 3);
  }
  CHECK(plan.cohorts[0].text != plan.cohorts[1].text);
  CHECK(plan.cohorts[1].text.find("batch 4") != std::string::npos);
  // Two devices: each leaves the other half of the only kind, or of all work.
  options.devices = {"cpu", "cpu"};
  const auto shared = search::measure_plan(parse_space(space_text("\"full*2\"")), options, kShort);
  CHECK(shared.devices == 2);
  CHECK(shared.cohorts.at(0).together == 1);
  CHECK(search::plan_text(shared).find("2 such devices") != std::string::npos);
}

TEST_CASE("A worker's share: all alone, an equal part of its key, or of all work") {
  CHECK(search::share_of_group(1, 4, 4, 1) == search::most_in_lockstep);
  CHECK(search::share_of_group(2, 5, 5, 1) == 3);
  CHECK(search::share_of_group(2, 4, 16, 1) == 8);
  CHECK(search::share_of_group(8, 1, 1, 1) == 1);
}

TEST_CASE("The tuning before a study is planned, and a rate that diverges is measured as any other") {
  const auto space = parse_space(space_text(kTwoKinds, kTuning));
  const auto plan = search::measure_plan(space, on_cpu(), kShort);
  REQUIRE(plan.cohorts.size() == 4);
  CHECK(plan.cohorts[0].study == "s-tuning");
  CHECK(plan.cohorts[1].study == "s-tuning");
  CHECK(plan.cohorts[2].study == "s");
  CHECK(plan.cohorts[0].cohort_key == plan.cohorts[2].cohort_key);
  CHECK(plan.cohorts[0].tokens_per_second == plan.cohorts[2].tokens_per_second);  // measured once
  std::int64_t tokens = 0, trials = 0;
  for (const auto& cohort : plan.cohorts) tokens += cohort.tokens, trials += cohort.trials;
  const auto study = search::plan_sweep(space), tuning = search::plan_sweep(*space.tuning);
  CHECK(tokens == study.tokens + tuning.tokens);
  CHECK(trials == study.trials + tuning.trials);
  CHECK(plan.totals.trials == trials);
  CHECK(search::plan_text(plan).find("s-tuning") != std::string::npos);
}

// Once the sample's own number of steps, times so many tokens a step, was over what a recipe may ask for.
TEST_CASE("Trials of many tokens a step can be measured, too") {
  const auto space = parse_space(space_text("\"full*2\"") + "[[variant]]\ncontext = 8192\nbatch = 2\n");
  const auto plan = search::measure_plan(space, on_cpu(), kShort);
  REQUIRE(plan.cohorts.size() == 1);
  CHECK(plan.cohorts[0].tokens_per_second > 0);
}

TEST_CASE("sweep --dry-run --measure prints the plan and writes nothing", "[program]") {
  const TempDir dir;
  dir.write("s.toml", space_text(kTwoKinds, kTuning));
  const std::string command = "sweep s.toml --dry-run --measure --measure-seconds 0.05 --device cpu --threads 2";
  const auto text = run_program(dir, command);
  INFO(text.err);
  REQUIRE(text.code == 0);
  for (const std::string part : {"full+swa", "full+gdn", "tokens/s", "hours", "s-tuning", "Nothing was stored"}) {
    INFO(part << " in\n" << text.out);
    CHECK(text.out.find(part) != std::string::npos);
  }
  const auto run = run_program(dir, command + " --json");
  REQUIRE(run.code == 0);
  const auto plan = json::parse(run.out);
  CHECK(plan["trials"] == 12);
  CHECK(plan["device"] == "cpu");
  CHECK(plan["devices"] == 1);
  REQUIRE(plan["kinds"].size() == 4);
  double hours = 0;
  for (const auto& kind : plan["kinds"]) {
    std::set<std::string> keys;
    for (const auto& [key, value] : kind.items()) keys.insert(key);
    CHECK(keys == std::set<std::string>{"study", "cohort", "cohort_key", "trials", "together", "tokens", "flops",
                                        "tokens_per_second", "hours", "steps_timed"});
    CHECK(kind["tokens_per_second"].get<double>() > 0);
    hours += kind["hours"].get<double>();
  }
  CHECK(std::abs(plan["device_hours"].get<double>() / hours - 1) < 1e-12);
  CHECK(run_program(dir, "sweep s.toml --measure").code == 2);  // what it belongs to is missing
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
    files.insert(entry.path().filename().string());
  CHECK(files == std::set<std::string>{"s.toml", "stdout", "stderr"});
}
