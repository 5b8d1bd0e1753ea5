// The engine of the CPU, trial-major (one step is trainer.hpp, evaluation evaluator.hpp).
//
// As many trials as fill all threads evenly are handed to threads whole, for cache's sake; the remainder (all of them
// when trials are fewer than threads) goes step by step, its batch chunks shared by the threads.
#include <fmt/format.h>

#include <algorithm>

#include "model/engine.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/evaluator.hpp"
#include "model/init.hpp"
#include "model/probe/head_scores.hpp"

namespace hylas::model {
namespace {

using kernels::DType;
using kernels::Tensor;

class CpuEngine final : public Engine {
 public:
  CpuEngine(const TrialSpec& first, const CohortOptions& options)
      : pool_(options.threads),
        proxy_(first.design, DType::f32, {}, head_of(first.recipe.task)),
        proxies_(proxy_, first.design, DType::f32, {}),
        task_(make_task(first.recipe.task, proxy_.shape().context)),
        suite_(*task_, first.recipe.eval),
        trainer_(proxy_, *task_, first.recipe.batch),
        heads_(first.design, suite_.sets(), first.recipe.eval.probe_sequences),
        evaluator_(proxies_, suite_, heads_) {}

  [[nodiscard]] const ParameterTable& parameters() const override { return proxy_.parameters(); }

  void place(std::vector<TrialState>& trials) override {
    const auto count = static_cast<std::int64_t>(trials.size());
    const std::int64_t N = proxy_.parameters().size();
    const Tensor weights = store_.tensor(DType::f32, {count, N});
    const Tensor m = store_.tensor(DType::f32, {count, N});
    const Tensor v = store_.tensor(DType::f32, {count, N});
    for (std::int64_t p = 0; p < count; ++p) {
      trials[static_cast<std::size_t>(p)].blocks = {weights.trials_from(p, 1), m.trials_from(p, 1),
                                                    v.trials_from(p, 1)};
    }
    pool_.run(count, [&](std::int64_t p, kernels::Context&) {
      const TrialState& trial = trials[static_cast<std::size_t>(p)];
      initialise(proxy_.parameters(), trial.spec.recipe, proxy_.depth(), trial.blocks.weights);
      std::fill_n(trial.blocks.m.trial<float>(), N, 0.0F);
      std::fill_n(trial.blocks.v.trial<float>(), N, 0.0F);
    });
  }

  void run(std::vector<TrialState>& trials, std::int64_t steps) override {
    std::vector<TrialState*> list;
    for (TrialState& trial : trials) {
      if (trial.active) list.push_back(&trial);
    }
    const auto threads = static_cast<std::size_t>(pool_.size());
    const std::size_t whole = list.size() / threads * threads;
    pool_.run(static_cast<std::int64_t>(whole), [&](std::int64_t item, kernels::Context& ctx) {
      for (std::int64_t i = 0; i < steps; ++i) trainer_.step(ctx, *list[static_cast<std::size_t>(item)]);
    });
    std::vector<TrialState*> rest(list.begin() + static_cast<std::ptrdiff_t>(whole), list.end());
    // Just enough trials at a time to feed all threads: each needs a gradient block a chunk.
    const auto chunks = static_cast<std::size_t>(trainer_.chunks());
    const std::size_t group = (threads + chunks - 1) / chunks;
    for (std::int64_t i = 0; i < steps; ++i) {
      std::erase_if(rest, [](const TrialState* trial) { return trial->diverged.has_value(); });
      for (std::size_t first = 0; first < rest.size(); first += group) {
        trainer_.step_shared(pool_, std::span(rest).subspan(first, std::min(group, rest.size() - first)));
      }
    }
  }

  [[nodiscard]] std::vector<std::vector<Point>> evaluate(std::span<const TrialState* const> trials) override {
    return evaluator_.run(pool_, trials);
  }

  void trials_changed(std::vector<TrialState>& /*trials*/) override {}
  void windows_changed(std::vector<TrialState>& /*trials*/) override {}

  [[nodiscard]] std::size_t peak_bytes() const override { return store_.capacity() + pool_.arena_bytes(); }

  [[nodiscard]] std::string plan_text() const override {
    return fmt::format("{} threads, {:.1f} MiB a trial for weights and moments", pool_.size(),
                       12.0 * static_cast<double>(proxy_.parameters().size()) / (1 << 20));
  }

 private:
  kernels::ThreadPool pool_;
  Proxy proxy_;
  ProxyAt proxies_;
  std::unique_ptr<Task> task_;
  EvalSuite suite_;
  Trainer trainer_;
  HeadProbe heads_;
  Evaluator evaluator_;
  kernels::Arena store_;  // [3][P][N]: weights, m, v
};

}  // namespace

std::unique_ptr<Engine> make_cpu_engine(const TrialSpec& first, const CohortOptions& options) {
  return std::make_unique<CpuEngine>(first, options);
}

}  // namespace hylas::model
