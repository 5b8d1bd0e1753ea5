// What growing windows promise (model/design/window_growth.hpp), checked on any device. A run that grows is two runs:
// one of a design with the small windows, whose checkpoint goes on as one of the design with the large ones.
#pragma once

#include <atomic>

#include "tests/catch.hpp"
#include "tests/model/test_cohort_common.hpp"

namespace hylas::tests {

// Trials that grow at `steps`, and what each is before and after.
struct GrowthCase {
  std::vector<model::TrialSpec> growing, small, large;
  std::int64_t steps = 0;
};

// Pairs of layouts: with the windows at the start, and with the design's. `like`: shape and recipe.
inline GrowthCase growth_case(const std::vector<std::pair<std::string, std::string>>& layouts,
                              const model::TrialSpec& like, model::WindowGrowth growth) {
  GrowthCase result{.growing = {}, .small = {}, .large = {}, .steps = growth.steps};
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    model::TrialSpec spec = like;
    spec.recipe.seed = static_cast<std::int64_t>(i) + 1;
    spec.recipe.data_seed = static_cast<std::int64_t>(i % 2) + 1;
    spec.design = model::Design::make(layouts[i].first, like.design.shape);
    result.small.push_back(spec);
    spec.design = model::Design::make(layouts[i].second, like.design.shape);
    result.large.push_back(spec);
    spec.recipe.window_growth = growth;
    result.growing.push_back(spec);
  }
  return result;
}

// The same weights, moments and counters as those of another trial: of another design or recipe.
inline model::Checkpoint as_if_of(model::Checkpoint state, const model::TrialSpec& spec) {
  state.metadata["hylas.design"] = spec.design.canonical();
  state.metadata["hylas.recipe"] = spec.recipe.canonical_json();
  state.metadata["hylas.trial_key"] = model::trial_key(spec.design, spec.recipe);
  return state;
}

inline void load_state(model::Cohort& cohort, std::size_t trial, const model::Checkpoint& state) {
  const TempDir dir;
  model::save_checkpoint(dir / "trial", state.tensors, state.metadata);
  cohort.load(trial, dir / "trial");
}

inline bool same_weights(const model::Checkpoint& a, const model::Checkpoint& b) {
  return same_bits({a.tensors, {}}, {b.tensors, {}});
}

// All trials of `from`, at one step, go on in a cohort of `specs`.
inline model::Cohort continued(const model::Cohort& from, const std::vector<model::TrialSpec>& specs,
                               const model::CohortOptions& options) {
  model::Cohort cohort(specs, options);
  for (std::size_t i = 0; i < specs.size(); ++i) load_state(cohort, i, as_if_of(state_of(from, i), specs[i]));
  return cohort;
}

inline void check_same(model::Cohort& got, model::Cohort& want, const std::vector<model::TrialSpec>& specs) {
  const auto points = got.evaluate(), wanted = want.evaluate();
  REQUIRE(points.size() == wanted.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    INFO("trial " << i << " at step " << got.step());
    CHECK(same_points(points[i], wanted[i]));
    CHECK(same_bits(state_of(got, i), as_if_of(state_of(want, i), specs[i])));
  }
}

// Up to the boundary, an evaluation there included, it is the small design; from then on the large one.
inline void check_is_two_runs(const GrowthCase& c, const model::CohortOptions& options) {
  model::Cohort growing(c.growing, options), small(c.small, options);
  check_same(growing, small, c.growing);
  for (model::Cohort* cohort : {&growing, &small}) CHECK(cohort->train_to(c.steps).empty());
  check_same(growing, small, c.growing);
  const std::atomic<bool> interrupt{true};
  CHECK(growing.train_to(growing.steps(), &interrupt).empty());
  CHECK(growing.step() == c.steps);
  check_same(growing, small, c.growing);

  model::Cohort large = continued(small, c.large, options);
  const auto before = small.evaluate(), after = large.evaluate();
  for (std::size_t i = 0; i < c.large.size(); ++i) CHECK_FALSE(same_points(before[i], after[i]));
  for (const std::int64_t step : {c.steps + 1, growing.steps()}) {
    for (model::Cohort* cohort : {&growing, &large}) CHECK(cohort->train_to(step).empty());
    check_same(growing, large, c.growing);
  }

  // In one call, whose segments would run past the boundary; neither of the plain designs.
  model::Cohort at_once(c.growing, options), only_large(c.large, options);
  for (model::Cohort* cohort : {&at_once, &small, &only_large}) CHECK(cohort->train_to(growing.steps()).empty());
  for (std::size_t i = 0; i < c.growing.size(); ++i) {
    const auto state = state_of(at_once, i);
    CHECK(same_weights(state, state_of(growing, i)));
    CHECK_FALSE(same_weights(state, state_of(small, i)));
    CHECK_FALSE(same_weights(state, state_of(only_large, i)));
  }
}

// A checkpoint of any step around the boundary goes on as if never interrupted: in a new cohort, and in the old one,
// which is past the boundary and must go back to small windows.
inline void check_resumes(const GrowthCase& c, const model::CohortOptions& options) {
  for (const std::int64_t step : {c.steps - 1, c.steps, c.steps + 1}) {
    INFO("saved at step " << step);
    model::Cohort undisturbed(c.growing, options), saved(c.growing, options);
    for (model::Cohort* cohort : {&undisturbed, &saved}) cohort->train_to(step);
    model::Cohort second = continued(saved, c.growing, options);
    std::vector<model::Checkpoint> states;
    for (std::size_t i = 0; i < c.growing.size(); ++i) states.push_back(state_of(saved, i));
    saved.train_to(saved.steps());
    (void)saved.evaluate();
    for (std::size_t i = 0; i < states.size(); ++i) load_state(saved, i, states[i]);
    const auto want = undisturbed.evaluate();
    undisturbed.train_to(undisturbed.steps());
    const auto want_last = undisturbed.evaluate();
    for (model::Cohort* cohort : {&second, &saved}) {
      const auto points = cohort->evaluate();
      cohort->train_to(cohort->steps());
      const auto last = cohort->evaluate();
      for (std::size_t i = 0; i < c.growing.size(); ++i) {
        CHECK(same_points(points[i], want[i]));
        CHECK(same_points(last[i], want_last[i]));
        CHECK(same_bits(state_of(*cohort, i), state_of(undisturbed, i)));
      }
    }
  }
}

// Trials that leave before and after the boundary change nothing for the last one.
inline void check_leaving(const GrowthCase& c, const model::CohortOptions& options) {
  const std::size_t last = c.growing.size() - 1;
  model::Cohort alone({c.growing[last]}, options);
  alone.train_to(alone.steps());
  for (const std::int64_t left : {c.steps - 1, c.steps, c.steps + 1}) {
    model::Cohort cohort(c.growing, options);
    cohort.train_to(left);
    for (std::size_t i = 0; i < last; ++i) cohort.remove(i);
    if (left == c.steps) (void)cohort.evaluate();
    cohort.train_to(cohort.steps());
    CHECK(same_weights(state_of(cohort, last), state_of(alone, 0)));
  }
}

}  // namespace hylas::tests
