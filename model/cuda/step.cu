// The GPU's decisions about updates, and the gathering of scored positions (see step.hpp).
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "model/cuda/step.hpp"

namespace hylas::model::cuda {
namespace {

using kernels::Context;
using kernels::Tensor;
using kernels::cuda::launch;

constexpr int kThreads = 256;

// The sum of one value a thread, in a fixed order; valid in thread 0.
__device__ double block_sum(double value, double* shared) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads();
  }
  return shared[0];
}

__global__ void __launch_bounds__(kThreads)
    sum_losses_kernel(const float* loss, std::int64_t stride, std::int64_t rows, double* parts) {
  __shared__ double shared[kThreads];
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kLossChunk;
  const std::int64_t end = first + kLossChunk < rows ? first + kLossChunk : rows;
  const float* trial = loss + static_cast<std::int64_t>(blockIdx.y) * stride;
  double sum = 0;
  for (std::int64_t i = first + threadIdx.x; i < end; i += kThreads) sum += static_cast<double>(trial[i]);
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) parts[static_cast<std::int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

struct Pointers {
  const float* lr_table;
  const std::int32_t* first_update;
  const float* max_norm;
  std::int32_t *step, *diverged, *sequence;
  double *train_loss, *last_loss, *train_positions;
  const std::int32_t* trained;  // or null
  const float* norm;
  float *lr, *clip_scale;
  std::int32_t *update, *apply;
};

__global__ void plan_kernel(Pointers a, int trials, int table, const double* parts, int chunks, std::int64_t batch,
                            std::int64_t scored) {
  const int p = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (p >= trials) return;
  double loss = 0;
  for (int c = 0; c < chunks; ++c) loss += parts[static_cast<std::int64_t>(p) * chunks + c];
  // Gradients were made with 1 / scored; this brings them, and their norm, to one over the positions that there are.
  const std::int64_t here = a.trained == nullptr ? scored : a.trained[p] > 0 ? a.trained[p] : 1;
  const float correction = static_cast<float>(static_cast<double>(scored) / static_cast<double>(here));
  const float norm = a.norm[p] * correction;
  const std::int32_t update = a.step[p] + 1;
  const bool finite = isfinite(loss) && isfinite(norm);
  const bool apply = finite && a.diverged[p] == 0;
  const int at = update - a.first_update[0];
  a.apply[p] = apply ? 1 : 0;
  a.update[p] = update;
  a.lr[p] = at >= 0 && at < table ? a.lr_table[static_cast<std::int64_t>(p) * table + at] : 0.0F;
  a.clip_scale[p] = correction * (norm > a.max_norm[p] ? a.max_norm[p] / norm : 1.0F);
  if (!apply) {
    if (a.diverged[p] == 0) a.diverged[p] = update;
    return;
  }
  a.step[p] = update;
  a.last_loss[p] = loss / static_cast<double>(here);
  a.train_loss[p] += loss;
  a.train_positions[p] += static_cast<double>(here);
  const std::uint64_t next = static_cast<std::uint64_t>(update) * static_cast<std::uint64_t>(batch);
  a.sequence[2 * p] = static_cast<std::int32_t>(next & 0xFFFFFFFFU);
  a.sequence[2 * p + 1] = static_cast<std::int32_t>(next >> 32);
}

__global__ void __launch_bounds__(kThreads)
    count_kernel(const std::int32_t* targets, std::int64_t stride, std::int64_t size, std::int32_t* trained) {
  __shared__ double sums[kThreads];
  const std::int32_t* trial = targets + blockIdx.x * stride;
  std::int64_t count = 0;
  for (std::int64_t i = threadIdx.x; i < size; i += kThreads) count += trial[i] >= 0 ? 1 : 0;
  const double sum = block_sum(static_cast<double>(count), sums);  // exact: whole numbers
  if (threadIdx.x == 0) trained[blockIdx.x] = static_cast<std::int32_t>(sum);
}

struct Gather {
  const std::int32_t* positions;
  std::int64_t begin, end, base;
  const float* loss;
  const std::int32_t* predicted;
  std::int64_t loss_stride, predicted_stride;
  float* all_loss;
  std::int32_t* all_predicted;
  std::int64_t all_loss_stride, all_predicted_stride;
};

__global__ void __launch_bounds__(kThreads) gather_kernel(Gather a) {
  const std::int64_t i = a.begin + static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x, p = blockIdx.y;
  if (i >= a.end) return;
  const std::int64_t from = a.positions[i] - a.base;
  a.all_loss[p * a.all_loss_stride + i] = a.loss[p * a.loss_stride + from];
  a.all_predicted[p * a.all_predicted_stride + i] = a.predicted[p * a.predicted_stride + from];
}

std::int32_t* ints(const Tensor& t) {
  return t.trial<std::int32_t>();
}
double* doubles(const Tensor& t) {
  return static_cast<double*>(t.data());
}

}  // namespace

void sum_losses(Context& ctx, const Tensor& loss, const Tensor& parts) {
  launch(ctx, sum_losses_kernel, dim3(static_cast<unsigned>(parts.dim(1)), static_cast<unsigned>(loss.trials())),
         dim3(kThreads), 0, loss.trial<float>(), loss.trial_stride(), loss.trial_size(), doubles(parts));
}

void plan_updates(Context& ctx, const TrialArrays& a, const Tensor& loss_parts, std::int64_t batch,
                  std::int64_t scored) {
  const Pointers pointers{.lr_table = a.lr_table.trial<float>(),
                          .first_update = ints(a.first_update),
                          .max_norm = a.max_norm.trial<float>(),
                          .step = ints(a.step),
                          .diverged = ints(a.diverged),
                          .sequence = ints(a.sequence),
                          .train_loss = doubles(a.train_loss),
                          .last_loss = doubles(a.last_loss),
                          .train_positions = doubles(a.train_positions),
                          .trained = a.trained.defined() ? ints(a.trained) : nullptr,
                          .norm = a.norm.trial<float>(),
                          .lr = a.lr.trial<float>(),
                          .clip_scale = a.clip_scale.trial<float>(),
                          .update = ints(a.update),
                          .apply = ints(a.apply)};
  const int trials = static_cast<int>(a.step.trials());
  launch(ctx, plan_kernel, dim3(static_cast<unsigned>((trials + 63) / 64)), dim3(64), 0, pointers, trials,
         static_cast<int>(a.lr_table.dim(1)), static_cast<const double*>(doubles(loss_parts)),
         static_cast<int>(loss_parts.dim(1)), batch, scored);
}

void count_targets(Context& ctx, const Tensor& targets, const Tensor& trained) {
  launch(ctx, count_kernel, dim3(static_cast<unsigned>(targets.trials())), dim3(kThreads), 0,
         static_cast<const std::int32_t*>(ints(targets)), targets.trial_stride(), targets.trial_size(), ints(trained));
}

void gather_scored(Context& ctx, const Tensor& positions, std::int64_t begin, std::int64_t end, std::int64_t base,
                   const Tensor& loss, const Tensor& predicted, const Tensor& all_loss, const Tensor& all_predicted) {
  if (begin == end) return;
  const Gather gather{.positions = ints(positions),
                      .begin = begin,
                      .end = end,
                      .base = base,
                      .loss = loss.trial<float>(),
                      .predicted = ints(predicted),
                      .loss_stride = loss.trial_stride(),
                      .predicted_stride = predicted.trial_stride(),
                      .all_loss = all_loss.trial<float>(),
                      .all_predicted = ints(all_predicted),
                      .all_loss_stride = all_loss.trial_stride(),
                      .all_predicted_stride = all_predicted.trial_stride()};
  const auto blocks = static_cast<unsigned>((end - begin + kThreads - 1) / kThreads);
  launch(ctx, gather_kernel, dim3(blocks, static_cast<unsigned>(loss.trials())), dim3(kThreads), 0, gather);
}

}  // namespace hylas::model::cuda
