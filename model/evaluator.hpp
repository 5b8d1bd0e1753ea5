// Evaluator: forward passes of trials over their evaluation suite on the CPU. Shared by all trials of a cohort.
//
// A set's sequences go in fixed chunks of about 256 tokens, spread over threads; the scored positions are gathered in
// order, and the metrics computed from them: the same bits for any number of threads. Thread-safety: run() is called by
// one thread at a time.
#pragma once

#include <span>
#include <vector>

#include "kernels/parallel.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/proxy_at.hpp"
#include "model/trainer.hpp"

namespace hylas::model {

class Evaluator {
 public:
  // proxies and suite must outlive the evaluator.
  Evaluator(ProxyAt& proxies, const EvalSuite& suite) : proxies_(proxies), suite_(suite) {}

  // The suite's points of each trial, in their order.
  [[nodiscard]] std::vector<std::vector<Point>> run(kernels::ThreadPool& pool,
                                                    std::span<const TrialState* const> trials) const;

 private:
  void run_set(kernels::ThreadPool& pool, std::span<const TrialState* const> trials, std::size_t index,
               std::vector<std::vector<SetResult>>& results) const;

  ProxyAt& proxies_;
  const EvalSuite& suite_;
};

}  // namespace hylas::model
