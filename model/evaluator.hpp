// Evaluator: forward passes of trials over their evaluation suite on the CPU. Shared by all trials of a cohort.
//
// A set's sequences go in fixed chunks of about 256 tokens, spread over threads; the scored positions are gathered in
// order, and the metrics computed from them: the same bits for any number of threads. So are the scores of heads, in a
// pass of their own. Thread-safety: run() is called by
// one thread at a time.
#pragma once

#include <span>
#include <vector>

#include "kernels/parallel.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/probe/head_scores.hpp"
#include "model/proxy_at.hpp"
#include "model/trainer.hpp"

namespace hylas::model {

class Evaluator {
 public:
  // proxies, suite and heads must outlive the evaluator.
  Evaluator(ProxyAt& proxies, const EvalSuite& suite, const HeadProbe& heads);

  // The suite's points of each trial, in their order, and those of the heads.
  [[nodiscard]] std::vector<std::vector<Point>> run(kernels::ThreadPool& pool,
                                                    std::span<const TrialState* const> trials) const;

 private:
  void run_set(kernels::ThreadPool& pool, std::span<const TrialState* const> trials, std::size_t index,
               std::vector<std::vector<SetResult>>& results) const;
  void run_heads(kernels::ThreadPool& pool, std::span<const TrialState* const> trials,
                 std::vector<std::vector<Point>>& points) const;

  ProxyAt& proxies_;
  const EvalSuite& suite_;
  const HeadProbe& heads_;
  HeadChunks head_chunks_;
};

}  // namespace hylas::model
