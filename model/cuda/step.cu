// The GPU's decisions about updates and counts of right answers (see step.hpp).
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
  double *train_loss, *last_loss;
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
  const float norm = a.norm[p];
  const std::int32_t update = a.step[p] + 1;
  const bool finite = isfinite(loss) && isfinite(norm);
  const bool apply = finite && a.diverged[p] == 0;
  const int at = update - a.first_update[0];
  a.apply[p] = apply ? 1 : 0;
  a.update[p] = update;
  a.lr[p] = at >= 0 && at < table ? a.lr_table[static_cast<std::int64_t>(p) * table + at] : 0.0F;
  a.clip_scale[p] = norm > a.max_norm[p] ? a.max_norm[p] / norm : 1.0F;
  if (!apply) {
    if (a.diverged[p] == 0) a.diverged[p] = update;
    return;
  }
  a.step[p] = update;
  a.last_loss[p] = loss / static_cast<double>(scored);
  a.train_loss[p] += loss;
  const std::uint64_t next = static_cast<std::uint64_t>(update) * static_cast<std::uint64_t>(batch);
  a.sequence[2 * p] = static_cast<std::int32_t>(next & 0xFFFFFFFFU);
  a.sequence[2 * p + 1] = static_cast<std::int32_t>(next >> 32);
}

__global__ void __launch_bounds__(kThreads)
    tally_kernel(const std::int32_t* positions, const std::int32_t* classes, std::int64_t count, int buckets,
                 const std::int32_t* targets, const std::int32_t* predicted, std::int64_t predicted_stride,
                 const float* loss, std::int64_t loss_stride, std::int32_t* right, double* loss_sum) {
  __shared__ double sums[kThreads];
  __shared__ std::int32_t counts[64];
  if (threadIdx.x < 64) counts[threadIdx.x] = 0;
  __syncthreads();
  const std::int64_t p = blockIdx.x;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    const std::int32_t position = positions[i], kind = classes[i];
    sum += static_cast<double>(loss[p * loss_stride + position]);
    if (predicted[p * predicted_stride + position] != targets[position]) continue;
    atomicAdd(&counts[kind & 255], 1);
    if ((kind & 256) != 0) atomicAdd(&counts[buckets], 1);
    if ((kind & 512) != 0) atomicAdd(&counts[buckets + 1], 1);
  }
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) loss_sum[p] = sum;
  if (static_cast<int>(threadIdx.x) < buckets + 2) right[p * (buckets + 2) + threadIdx.x] = counts[threadIdx.x];
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

void tally(Context& ctx, const TallyPlan& plan, const Tensor& targets, const Tensor& predicted, const Tensor& loss,
           const Tensor& right, const Tensor& loss_sum) {
  if (plan.buckets + 2 > 64) throw std::invalid_argument("tally: too many buckets");
  launch(ctx, tally_kernel, dim3(static_cast<unsigned>(predicted.trials())), dim3(kThreads), 0,
         static_cast<const std::int32_t*>(ints(plan.positions)), static_cast<const std::int32_t*>(ints(plan.classes)),
         plan.positions.size(), static_cast<int>(plan.buckets), static_cast<const std::int32_t*>(ints(targets)),
         static_cast<const std::int32_t*>(ints(predicted)), predicted.trial_stride(),
         static_cast<const float*>(loss.trial<float>()), loss.trial_stride(), ints(right), doubles(loss_sum));
}

}  // namespace hylas::model::cuda
