// Prober: a trained trial out of a checkpoint, evaluated again: as it is, with cuts and heads switched off, and with
// the scores of its heads. On the CPU (fp32) or a GPU (in the precision of its recipe).
//
// All evaluations go through attention_probe, intact ones too, so that what differs between two of them is the
// intervention alone; up to rounding they are what the sweep stored. Windows are always the design's own: where a
// recipe lets them grow (design/window_growth.hpp), a checkpoint of the steps before is run with windows it was not
// trained with yet, and the sweep stored something else. Sequences: the first `sequences` of the evaluation split, at
// the training context; of real text its needles too, which heads are scored on then. Interventions run as the trial
// dimension of one batch on a GPU. Errors: InputError for a trial that cannot be run here, CheckpointError for a file
// that cannot be loaded, CudaError. Thread-safety: one thread at a time; it uses its pool inside.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "model/cohort.hpp"
#include "model/probe/head_scores.hpp"
#include "model/probe/intervention.hpp"

namespace hylas::model {

// Relative L2 distance of one attention layer's W_q and W_k to those of another checkpoint.
struct WeightDistance {
  int layer = 0;
  double q = 0, k = 0;  // |W - W'| / |W'|
};

class Prober {
 public:
  Prober(const TrialSpec& trial, std::int64_t sequences, const CohortOptions& options);
  ~Prober();
  Prober(Prober&&) noexcept;
  Prober& operator=(Prober&&) noexcept;

  [[nodiscard]] const HeadProbe& heads() const;
  // Trained weights; needed before anything is evaluated.
  void load(const std::filesystem::path& file);
  [[nodiscard]] std::int64_t step() const;        // of what was loaded
  [[nodiscard]] std::string device_text() const;  // where and in which precision

  // In the order of heads(): layer by layer.
  [[nodiscard]] std::vector<HeadScore> scores();
  // The metrics of the trial's task under each intervention.
  [[nodiscard]] std::vector<std::vector<Point>> evaluate(std::span<const Intervention> interventions);
  // W_q and W_k of the loaded weights, of each attention layer, one after the other; and the distances of an earlier
  // checkpoint's to a later one's.
  [[nodiscard]] std::vector<std::vector<float>> query_key_weights() const;
  [[nodiscard]] std::vector<WeightDistance> distances(const std::vector<std::vector<float>>& from,
                                                      const std::vector<std::vector<float>>& to) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hylas::model
