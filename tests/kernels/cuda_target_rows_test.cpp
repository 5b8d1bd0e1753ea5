// The positions with a target on the GPU against plain loops: which are kept, rows to and from them, losses at all
// positions; fewer targets and more than are kept, odd sizes, targets that trials share, a trial's bits alone.
#include <array>

#include "kernels/cuda/target_rows.hpp"
#include "tests/kernels/cuda_support.hpp"

namespace hylas::test {
namespace {

using kernels::cuda::TargetRows;

struct Kept {  // of one trial, as in TargetRows
  Ints position, target, place;
};

Kept kept_of(const Ints& targets, std::int64_t length, std::int64_t n) {
  Kept kept;
  for (std::int64_t first = 0, b = 0; first < std::ssize(targets); first += length, ++b) {
    std::int64_t rank = 0;
    for (std::int64_t t = first; t < first + length; ++t) {
      if (targets[at(t)] < 0) {
        kept.place.push_back(-1);
      } else if (rank < n) {
        kept.position.push_back(static_cast<std::int32_t>(t));
        kept.target.push_back(targets[at(t)]);
        kept.place.push_back(static_cast<std::int32_t>(b * n + rank++));
      } else {
        kept.place.push_back(-2);
      }
    }
    for (; rank < n; ++rank) kept.position.push_back(-1), kept.target.push_back(-1);
  }
  return kept;
}

Vector doubles(const Ints& v) {
  return {v.begin(), v.end()};
}

// The arena's tensors of a result, poisoned before they are taken, read back.
Trials read_back(const Tensor& t) {
  std::vector<std::int32_t> host(at(t.size()));
  kernels::cuda::download(host.data(), t.data(), host.size() * sizeof(std::int32_t), 0);
  Trials trials;
  for (std::int64_t p = 0; p < t.trials(); ++p) {
    const auto first = host.begin() + p * t.trial_size();
    trials.emplace_back(first, first + t.trial_size());
  }
  return trials;
}

struct RowsCase {
  std::int64_t trials, batch, length, n;
  int unscored;  // in ten
};

std::vector<Ints> draw_targets(Random& random, const RowsCase& c) {
  std::vector<Ints> targets;
  for (std::int64_t p = 0; p < c.trials; ++p) {
    Ints target = random.integers(c.batch * c.length, 0, 999);
    const Ints scored = random.integers(c.batch * c.length, 0, 9);
    for (std::size_t i = 0; i < target.size(); ++i) {
      if (scored[i] < c.unscored) target[i] = -1 - target[i];  // any negative number is none
    }
    targets.push_back(std::move(target));
  }
  return targets;
}

const std::vector<RowsCase> kCases{{1, 1, 1, 1, 0},   {1, 1, 1, 1, 10},  {3, 1, 31, 5, 7},     {3, 9, 33, 16, 5},
                                   {1, 5, 257, 7, 9}, {32, 3, 65, 2, 8}, {3, 17, 300, 300, 2}, {2, 8, 64, 4, 10}};

}  // namespace

TEST_CASE("positions with a target are kept in order, as many as asked for", "[gpu][target_rows][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const std::uint64_t seed = 71;
  Random random(seed);
  for (const RowsCase& c : kCases) {
    CAPTURE(seed, c.trials, c.batch, c.length, c.n, c.unscored);
    const std::vector<Ints> targets = draw_targets(random, c);
    const DeviceTensor there(DType::i32, {c.trials, c.batch, c.length}, targets);
    const kernels::ArenaScope scope(gpu.ctx.arena);
    const TargetRows found = kernels::cuda::find_target_rows(gpu.ctx, there, c.n);
    gpu.runtime.synchronize();
    const Trials position = read_back(found.position), target = read_back(found.target), place = read_back(found.place);
    for (std::size_t p = 0; p < at(c.trials); ++p) {
      const Kept want = kept_of(targets[p], c.length, c.n);
      CHECK(position[p] == doubles(want.position));
      CHECK(target[p] == doubles(want.target));
      CHECK(place[p] == doubles(want.place));
    }
    // Targets of the first trial, shared by all.
    Tensor shared = there;
    shared.set_trial_stride(0);
    const TargetRows same = kernels::cuda::find_target_rows(gpu.ctx, shared, c.n);
    gpu.runtime.synchronize();
    for (const Vector& v : read_back(same.place)) CHECK(v == place[0]);
  }
}

TEST_CASE("rows and losses go to the kept positions and back, and nowhere else", "[gpu][target_rows][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = GENERATE(DType::f32, DType::bf16);
  const std::uint64_t seed = 72;
  Random random(seed);
  for (const RowsCase& c : kCases) {
    for (const std::int64_t d : {1, 7, 24}) {
      CAPTURE(seed, c.trials, c.batch, c.length, c.n, c.unscored, d);
      const std::int64_t P = c.trials, rows = c.batch * c.length, kept = c.batch * c.n;
      const std::vector<Ints> targets = draw_targets(random, c);
      const Trials hs = as_seen(t, random.trials(P, rows * d)), dhs = as_seen(t, random.trials(P, kept * d));
      const Trials losses = random.trials(P, kept);
      std::vector<Ints> predictions;
      for (std::int64_t p = 0; p < P; ++p) predictions.push_back(random.integers(kept, 0, 99));
      const DeviceTensor there(DType::i32, {P, c.batch, c.length}, targets), h(t, {P, c.batch, c.length, d}, hs),
          dkept(t, {P, kept, d}, dhs), kept_loss(DType::f32, {P, kept}, losses),
          kept_predicted(DType::i32, {P, kept}, predictions);
      const DeviceTensor taken(t, {P, kept, d}), dh(t, {P, c.batch, c.length, d}),
          loss(DType::f32, {P, c.batch, c.length}), loss_alone(DType::f32, {P, c.batch, c.length}),
          predicted(DType::i32, {P, c.batch, c.length});
      const kernels::ArenaScope scope(gpu.ctx.arena);
      const TargetRows found = kernels::cuda::find_target_rows(gpu.ctx, there, c.n);
      kernels::cuda::take_rows(gpu.ctx, h, found.position, taken);
      kernels::cuda::take_rows(gpu.ctx, dkept, found.place, dh);
      kernels::cuda::spread_losses(gpu.ctx, found.place, kept_loss, kept_predicted, loss, predicted);
      kernels::cuda::spread_losses(gpu.ctx, found.place, kept_loss, {}, loss_alone, {});
      for (const auto* m : {&taken, &dh, &loss, &loss_alone, &predicted}) m->check_fences();
      for (std::size_t p = 0; p < at(P); ++p) {
        const Kept want = kept_of(targets[p], c.length, c.n);
        Vector rows_want(at(kept * d)), back(at(rows * d)), loss_want(at(rows)), predicted_want(at(rows), -1);
        for (std::int64_t i = 0; i < kept; ++i) {
          const std::int64_t from = want.position[at(i)];
          if (from < 0) continue;
          for (std::int64_t k = 0; k < d; ++k) {
            rows_want[at(i * d + k)] = hs[p][at(from * d + k)];
            back[at(from * d + k)] = dhs[p][at(i * d + k)];
          }
          loss_want[at(from)] = losses[p][at(i)];
          predicted_want[at(from)] = predictions[p][at(i)];
        }
        Vector got = loss.values(static_cast<std::int64_t>(p));
        CHECK(same_bits(got, loss_alone.values(static_cast<std::int64_t>(p))));
        bool right = true;
        for (std::size_t i = 0; i < got.size(); ++i) {
          right = right && (want.place[i] == -2 ? std::isnan(got[i]) : got[i] == loss_want[i]);
        }
        CHECK(right);
        CHECK(taken.values(static_cast<std::int64_t>(p)) == rows_want);
        CHECK(dh.values(static_cast<std::int64_t>(p)) == back);
        CHECK(predicted.values(static_cast<std::int64_t>(p)) == predicted_want);
      }
    }
  }
}

TEST_CASE("what does not fit together is refused before anything is launched", "[gpu][target_rows]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DeviceTensor targets(DType::i32, {2, 3, 5}), h(DType::f32, {2, 3, 5, 4}), short_rows(DType::f32, {2, 6, 3});
  CHECK_THROWS_AS(kernels::cuda::find_target_rows(gpu.ctx, targets, 0), std::invalid_argument);
  CHECK_THROWS_AS(kernels::cuda::find_target_rows(gpu.ctx, targets, 6), std::invalid_argument);
  CHECK_THROWS_AS(kernels::cuda::find_target_rows(gpu.ctx, h, 2), std::invalid_argument);
  const DeviceTensor index(DType::i32, {2, 6});
  CHECK_THROWS_AS(kernels::cuda::take_rows(gpu.ctx, h, index, short_rows), std::invalid_argument);
}

}  // namespace hylas::test
