// Evaluation of trials on the evaluation split, spread over threads in fixed chunks of whole sequences.
//
// Items (trial, chunk) are independent; their counts and loss sums are merged in order, so the points do not depend on
// threads. Thread-safety: const.
#pragma once

#include <span>

#include "kernels/parallel.hpp"
#include "model/trainer.hpp"

namespace hylas::model {

class Evaluator {
 public:
  // proxy and stream must outlive the evaluator.
  Evaluator(const Proxy& proxy, const RecallStream& stream, std::int64_t sequences);
  // The recall metrics of each trial, in order.
  [[nodiscard]] std::vector<std::vector<Point>> run(kernels::ThreadPool& pool,
                                                    std::span<const TrialState* const> trials) const;

 private:
  const Proxy& proxy_;
  const RecallStream& stream_;
  std::int64_t sequences_;
  std::int64_t chunk_sequences_;
};

}  // namespace hylas::model
