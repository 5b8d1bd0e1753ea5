// Records go in and come out: studies, designs, trials, points, checkpoints, fits, views; idempotence and conflicts.
#include <cmath>
#include <limits>

#include "tests/catch.hpp"
#include "tests/db/support.hpp"

using namespace hylas::db;
using namespace hylas::db::testing;

TEST_CASE("a new store has the settings that RELIABILITY asks for", "[store]") {
  const TempDir dir;
  const Store store = Store::open(dir / "a.db", Access::create);
  REQUIRE(sql(dir / "a.db", "PRAGMA journal_mode") == std::vector<std::string>{"wal"});
  REQUIRE(sql(dir / "a.db", "PRAGMA application_id") == std::vector<std::string>{"1752788083"});
  REQUIRE(sql(dir / "a.db", "PRAGMA user_version") ==
          std::vector<std::string>{std::to_string(Store::schema_version())});
  // Every table is STRICT: a text in an integer column is refused.
  REQUIRE_THROWS(sql(dir / "a.db", "INSERT INTO protocols(id, json) VALUES ('x', 'y')"));
  REQUIRE(sql(dir / "a.db",
              "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
              " AND strict = 0 AND name NOT LIKE 'sqlite_%'") == std::vector<std::string>{"0"});
}

TEST_CASE("studies, designs and trials are added once, in order", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  const auto first = fill(store, 5);
  const auto again = fill(store, 7);
  REQUIRE(first.size() == 5);
  REQUIRE(std::vector(again.begin(), again.begin() + 5) == first);
  const std::int64_t study = store.study("s").id;
  const auto trials = store.trials(study);
  REQUIRE(trials.size() == 7);
  for (std::size_t i = 0; i < trials.size(); ++i) {
    REQUIRE(trials[i].trial_key == "k" + std::to_string(i));
    REQUIRE(trials[i].seed == static_cast<std::int64_t>(i));
    REQUIRE(trials[i].id == again[i]);
    REQUIRE(trials[i].state == TrialState::queued);
    REQUIRE(trials[i].design_id == "d1");
    REQUIRE(trials[i].layout == "full*2");
    REQUIRE(trials[i].recipe_json == sample_trial("x").recipe_json);
    REQUIRE(trials[i].protocol_json == sample_trial("x").protocol_json);
    REQUIRE(trials[i].capability_stop_at == 0.9);
    REQUIRE_FALSE(trials[i].checkpoint.has_value());
  }
  const auto designs = store.designs(study);
  REQUIRE(designs.size() == 1);
  REQUIRE(designs[0].flops_train == 7.5e4);
  REQUIRE(designs[0].shape_json == sample_design().shape_json);
  // A second study shares the trial instead of training it again.
  const std::int64_t other = store.ensure_study("other", "{}", "");
  REQUIRE(store.add_trials(other, std::vector{sample_trial("k3")}) == std::vector{first[3]});
  REQUIRE(store.trials(other).size() == 1);
  REQUIRE(store.find_trials("k3").size() == 1);
  REQUIRE(store.find_trials("k").size() == 7);
  REQUIRE(store.find_trials("%").empty());
}

TEST_CASE("a changed space is refused unless extend is given, and nothing is written", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  const std::int64_t id = store.ensure_study("s", R"({"seeds":3})", "seeds = 3");
  REQUIRE(store.ensure_study("s", R"({"seeds":3})", "# other comment\nseeds = 3") == id);
  std::string message;
  REQUIRE(kind_thrown([&] { store.ensure_study("s", R"({"seeds":4})", "seeds = 4"); }, &message) ==
          StoreErrorKind::changed);
  REQUIRE(message.find("--extend") != std::string::npos);
  REQUIRE(message.find("\"seeds\":3") != std::string::npos);
  REQUIRE(store.study("s").space_json == R"({"seeds":3})");
  REQUIRE(store.ensure_study("s", R"({"seeds":4})", "seeds = 4", true) == id);
  REQUIRE(store.study("s").space_text == "seeds = 4");
  REQUIRE(kind_thrown([&] { (void)store.study("t"); }, &message) == StoreErrorKind::missing);
  REQUIRE(message.find("it has: s") != std::string::npos);
}

TEST_CASE("points come back with their bits and their class, and the results view shows them", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  const auto ids = fill(store, 1);
  store.begin_run("0.1.0", R"({"host":"here"})", "cpu");
  const Claim claim = store.claim(ids, 1, 60).at(0);
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<MetricValue> values{{"a", 0.1, 3},          {"b", std::numeric_limits<double>::denorm_min(), 0},
                                        {"c", inf, 1},          {"d", -inf, 2},
                                        {"e", std::nan(""), 4}, {"f", 3.0, 5},
                                        {"g", -0.0, 6},         {"h", 1e308, 7}};
  const EvaluationRecord record{claim, 10, 10240, 1.5, values};
  store.record_evaluation(std::vector{record});
  const auto points = store.points(ids[0]);
  REQUIRE(points.size() == values.size());
  for (std::size_t i = 0; i < points.size(); ++i) {
    REQUIRE(points[i].metric == values[i].metric);
    REQUIRE(points[i].count == values[i].count);
    REQUIRE(points[i].step == 10);
    REQUIRE(points[i].tokens == 10240);
    if (std::isnan(values[i].value)) {
      REQUIRE(std::isnan(points[i].value));
    } else {
      REQUIRE(points[i].value == values[i].value);
    }
  }
  REQUIRE(sql(dir / "a.db",
              "SELECT design_id, trial_key, seed, step, tokens, metric, value, value_class FROM results"
              " WHERE metric IN ('c', 'd', 'e', 'f')") ==
          std::vector<std::string>{"d1|k0|0|10|10240|c|NULL|+inf", "d1|k0|0|10|10240|d|NULL|-inf",
                                   "d1|k0|0|10|10240|e|NULL|nan", "d1|k0|0|10|10240|f|3.0|finite"});
  REQUIRE(sql(dir / "a.db", "SELECT r.program_version, r.device FROM evaluations e JOIN runs r ON r.id = e.run") ==
          std::vector<std::string>{"0.1.0|cpu"});
  // Again: the same bits are left alone, whatever their class.
  store.record_evaluation(std::vector{record});
  REQUIRE(store.points(ids[0]).size() == values.size());
  REQUIRE(store.points(ids[0], "f").size() == 1);
  REQUIRE(store.study_points(store.study("s").id, "a").size() == 1);
}

TEST_CASE("a point with other bits is a conflict, and the whole batch is left out", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  const auto ids = fill(store, 2);
  const auto claims = store.claim(ids, 2, 60);
  store.record_evaluation(std::vector{EvaluationRecord{claims[0], 1, 10, 0, {{"loss", 0.5, 8}}}});
  const std::vector<EvaluationRecord> batch{{claims[1], 2, 20, 0, {{"loss", 1, 8}}},
                                            {claims[0], 1, 10, 0, {{"loss", std::nextafter(0.5, 1), 8}}}};
  try {
    store.record_evaluation(batch);
    FAIL("no conflict");
  } catch (const StoreError& error) {
    REQUIRE(error.kind() == StoreErrorKind::conflict);
    REQUIRE(error.exit_code() == 1);
    REQUIRE(error.trials() == std::vector{ids[0]});
    const std::string message = error.what();
    REQUIRE(message.find("trial k0 step 1 loss") != std::string::npos);
    REQUIRE(message.find("0.50000000000000011") != std::string::npos);
  }
  REQUIRE(store.points(ids[1]).empty());
  // Without it the rest goes in: a conflict is no broken store. Another count or class is a conflict as well.
  store.record_evaluation(std::vector{batch[0]});
  REQUIRE(store.points(ids[1]).size() == 1);
  for (const MetricValue& other : {MetricValue{"loss", 0.5, 9}, MetricValue{"loss", std::nan(""), 8}}) {
    REQUIRE(kind_thrown([&] {
              store.record_evaluation(std::vector{EvaluationRecord{claims[0], 1, 10, 0, {other}}});
            }) == StoreErrorKind::conflict);
  }
}

TEST_CASE("a batch holds the last evaluation, the checkpoint and the end; repeating it changes nothing", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  const auto ids = fill(store, 1);
  const Claim claim = store.claim(ids, 1, 60).at(0);
  store.record_checkpoint({claim, {5, false, "k0/step-5.safetensors", 100}});
  REQUIRE(store.trials(1)[0].checkpoint->step == 5);
  REQUIRE_FALSE(store.trials(1)[0].checkpoint->evaluated);
  const Batch batch{{{claim, 10, 100, 1.0, {{"loss", 0.25, 4}}}},
                    {{claim, {10, true, "k0/step-10.safetensors", 101}}},
                    {{claim, TrialState::stopped, 10, "", 0.5}}};
  for (int round = 0; round < 2; ++round) {
    store.commit(batch);
    const Trial trial = store.trials(1)[0];
    REQUIRE(trial.state == TrialState::stopped);
    REQUIRE(trial.step == 10);
    REQUIRE(trial.wall_seconds == 1.5);
    REQUIRE_FALSE(trial.finished_at.empty());
    REQUIRE(trial.checkpoint->step == 10);
    REQUIRE(trial.checkpoint->path == "k0/step-10.safetensors");
    REQUIRE(trial.checkpoint->bytes == 101);
    REQUIRE(sql(dir / "a.db", "SELECT count(*) FROM checkpoints") == std::vector<std::string>{"1"});
    REQUIRE(store.points(ids[0]).size() == 1);
  }
  REQUIRE(store.claim(ids, 1, 60).empty());  // finished trials are not given out
  // A failed trial can be queued again; everything it recorded is gone.
  store.requeue(ids);
  REQUIRE(store.trials(1)[0].state == TrialState::queued);
  REQUIRE(store.points(ids[0]).empty());
  REQUIRE_FALSE(store.trials(1)[0].checkpoint.has_value());
  REQUIRE(kind_thrown([&] { store.commit(batch); }) == StoreErrorKind::stale);
  REQUIRE(store.claim(ids, 1, 60).size() == 1);
}

TEST_CASE("fits are kept, oldest first, by kind", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  const std::int64_t study = store.ensure_study("s", "{}", "");
  store.add_fit(study, "emergence", R"({"slope":1})", "0.1.0");
  store.add_fit(study, "loss", "{}", "0.1.0");
  store.add_fit(study, "emergence", R"({"slope":2})", "0.1.1");
  const auto fits = store.fits(study, "emergence");
  REQUIRE(fits.size() == 2);
  REQUIRE(fits.back().json == R"({"slope":2})");
  REQUIRE(fits.back().program_version == "0.1.1");
  REQUIRE(store.fits(study).size() == 3);
}

TEST_CASE("every view can be read and counts what is there", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  const auto ids = fill(store, 3);
  const auto claims = store.claim(ids, 2, 60);
  for (std::int64_t step : {0, 10}) {
    store.record_evaluation(std::vector<EvaluationRecord>{
        {claims[0], step, step * 1024, 0, {{"accuracy/far", 0.01 * static_cast<double>(step), 8}, {"loss", 2.0, 8}}}});
  }
  store.finish({claims[0], TrialState::done, 10, "", 0});
  store.finish({claims[1], TrialState::failed, 3, "out of memory", 0});
  REQUIRE(sql(dir / "a.db",
              "SELECT trial_key, layout, state, step, tokens, evaluations, capability_value, message"
              " FROM trial_overview") == std::vector<std::string>{"k0|full*2|done|10|10240|2|0.1|",
                                                                  "k1|full*2|failed|3|3072|0|NULL|out of memory",
                                                                  "k2|full*2|queued|0|0|0|NULL|"});
  REQUIRE(sql(dir / "a.db", "SELECT study, design_id, trials, open, done, failed FROM design_overview") ==
          std::vector<std::string>{"s|d1|3|1|1|1"});
  REQUIRE(sql(dir / "a.db", "SELECT metric, step, value FROM final_results ORDER BY metric") ==
          std::vector<std::string>{"accuracy/far|10|0.1", "loss|10|2.0"});
  REQUIRE(sql(dir / "a.db", "SELECT count(*), min(d_model), max(context) FROM curves") ==
          std::vector<std::string>{"4|32|64"});
}

TEST_CASE("hostile names are stored literally", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a b'?#%20.db", Access::create);
  const std::string big(1 << 20, 'x');
  for (const std::string& name :
       {std::string("'; DROP TABLE trials; --"), std::string("../../etc/passwd"),
        std::string("<script>alert(1)</script>"), std::string("=cmd|' /C calc'!A0"), std::string("nul\0inside", 10),
        std::string("\xff\xfe broken utf-8"), std::string(), big}) {
    const std::int64_t study = store.ensure_study(name, "{\"n\":1}", name);
    REQUIRE(store.study(name).id == study);
    REQUIRE(store.study(name).space_text == name);
    const std::string key = std::to_string(study) + " key " + name;
    store.add_designs(std::vector{sample_design("d1"), Design{"d" + name, name, name, name, 1, 1, 1, 1, 1}});
    const auto ids = store.add_trials(study, std::vector{sample_trial(key, "d" + name)});
    REQUIRE(store.find_trials(key).size() == 1);
    REQUIRE(store.trials(study).at(0).trial_key == key);
    REQUIRE(store.trials(study).at(0).design_id == "d" + name);
    const Claim claim = store.claim(ids, 1, 60).at(0);
    store.record_evaluation(std::vector{EvaluationRecord{claim, 1, 1, 0, {{name, 1.0, 1}}}});
    REQUIRE(store.points(ids[0]).at(0).metric == name);
    store.finish({claim, TrialState::failed, 1, name, 0});
    REQUIRE(store.trials(study).at(0).message == name);
  }
  // Reading the odd file name on read-only media goes through a URI.
  REQUIRE(Store::open(dir / "a b'?#%20.db", Access::read).studies().size() == 8);
}

TEST_CASE("a trial under another protocol or recipe is refused", "[store]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  fill(store, 1);
  NewTrial other = sample_trial("k0");
  other.protocol_json = R"({"metric":"accuracy/near"})";
  REQUIRE(kind_thrown([&] { store.add_trials(1, std::vector{other}); }) == StoreErrorKind::conflict);
  other = sample_trial("k0");
  other.recipe_json = "{}";
  REQUIRE(kind_thrown([&] { store.add_trials(1, std::vector{other}); }) == StoreErrorKind::conflict);
}
