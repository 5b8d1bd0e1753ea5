// A layer's statistics summed over queries on a GPU (see model/probe/head_sums.hpp).
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "model/probe/head_sums.hpp"

namespace hylas::model::cuda {
namespace {

using kernels::ProbeStatistic;

constexpr int kThreads = 128;

struct Arrays {
  const float* statistics;
  const std::int32_t* top;
  const std::int32_t *query, *answer;
  const std::int32_t *tokens, *predicted;
  double* sums;
  std::int64_t statistics_stride, top_stride, tokens_stride, predicted_stride, sums_stride;
  std::int64_t n, context;
};

// Block (head, trial). Each thread adds every 128th query in order, then the threads' sums meet in a fixed tree.
__global__ void __launch_bounds__(kThreads) head_sums_kernel(Arrays a) {
  __shared__ double shared[HeadSum::count][kThreads];
  const std::int64_t h = blockIdx.x, p = blockIdx.y, half = a.n / 2;
  const float* statistics = a.statistics + p * a.statistics_stride + h * a.n * ProbeStatistic::count;
  const std::int32_t* top = a.top + p * a.top_stride + h * a.n;
  const std::int32_t* tokens = a.tokens + p * a.tokens_stride;
  const std::int32_t* predicted = a.predicted + p * a.predicted_stride;
  double sum[HeadSum::count] = {};
  for (std::int64_t i = threadIdx.x; i < half; i += kThreads) {
    const float* at = statistics + i * ProbeStatistic::count;
    const double on_answer = at[ProbeStatistic::on_answer], keys = at[ProbeStatistic::keys];
    const std::int64_t q = a.query[i], t = q % a.context, start = q - t;
    sum[HeadSum::answer] += on_answer;
    if (2 * (t + 1 - a.answer[i]) > a.context) sum[HeadSum::answer_far] += on_answer;
    if (top[i] >= 0 && tokens[start + top[i]] == predicted[q]) sum[HeadSum::copy] += 1;
    if (keys >= 2) {
      sum[HeadSum::entropy] += static_cast<double>(at[ProbeStatistic::entropy]) / log(keys);
      sum[HeadSum::spread] += 1;
    }
    sum[HeadSum::previous] +=
        static_cast<double>(statistics[(half + i) * ProbeStatistic::count + ProbeStatistic::on_previous]);
  }
  for (int k = 0; k < HeadSum::count; ++k) shared[k][threadIdx.x] = sum[k];
  __syncthreads();
  for (int step = kThreads / 2; step > 0; step /= 2) {
    if (static_cast<int>(threadIdx.x) < step) {
      for (int k = 0; k < HeadSum::count; ++k) shared[k][threadIdx.x] += shared[k][threadIdx.x + step];
    }
    __syncthreads();
  }
  if (threadIdx.x >= HeadSum::count) return;
  a.sums[p * a.sums_stride + h * HeadSum::count + threadIdx.x] += shared[threadIdx.x][0];
}

}  // namespace

void add_head_sums(kernels::Context& ctx, const HeadStatistics& from, std::int64_t first, const kernels::Tensor& sums) {
  const Arrays arrays{.statistics = from.statistics.trial<float>(),
                      .top = from.top.trial<std::int32_t>(),
                      .query = from.queries.query.trial<std::int32_t>(),
                      .answer = from.queries.answer.trial<std::int32_t>(),
                      .tokens = from.tokens.trial<std::int32_t>(),
                      .predicted = from.predicted.trial<std::int32_t>(),
                      .sums = static_cast<double*>(sums.data()) + first * HeadSum::count,
                      .statistics_stride = from.statistics.trial_stride(),
                      .top_stride = from.top.trial_stride(),
                      .tokens_stride = from.tokens.trial_stride(),
                      .predicted_stride = from.predicted.trial_stride(),
                      .sums_stride = sums.trial_stride(),
                      .n = from.queries.query.dim(1),
                      .context = from.tokens.dim(2)};
  kernels::cuda::launch(ctx, head_sums_kernel,
                        dim3(static_cast<unsigned>(from.top.dim(1)), static_cast<unsigned>(sums.trials())),
                        dim3(kThreads), 0, arrays);
}

}  // namespace hylas::model::cuda
