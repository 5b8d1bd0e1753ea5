// CUDA: softmax cross-entropy on rows of logits (cross_entropy.hpp).
//
// A group of neighbouring threads (part of a warp, a warp, or a block) takes a row and holds it in registers, packed as
// it lies in memory: one read and, in training, one write. Rows that cannot be moved in packets of 16 bytes, or are too
// long, are read again from the caches instead (the "wide" kernel).
#include "kernels/cuda/cross_entropy.hpp"

#include <climits>

#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kGroupThreads = 256;  // of a block whose groups are at most a warp

struct RowArrays {
  const std::int32_t* targets;
  float* loss;
  std::int32_t* predicted;  // evaluation
  std::int64_t rows;        // of one trial
  int width;                // V
  int lanes;                // threads of a row
  float scale;
  std::int64_t logits_stride, targets_stride, loss_stride, predicted_stride;
};

// What is known of some of a row's logits: the largest and where it is first, and the sum of e^(x - max).
struct Partial {
  float max, sum;
  int at;

  __device__ __forceinline__ void take_max(float other, int other_at) {
    if (other > max || (other == max && other_at < at)) {
      max = other;
      at = other_at;
    }
  }
  // What exponents are relative to: -inf - (-inf) is no number.
  [[nodiscard]] __device__ __forceinline__ float shift() const { return max == -INFINITY ? 0.0F : max; }
};

__device__ __forceinline__ Partial nothing() {
  return {-INFINITY, 0.0F, INT_MAX};
}

// Over each group of `lanes` lanes; `at` only where it is wanted.
template <bool with_index>
__device__ __forceinline__ void group_max(Partial& row, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, row.max, offset);
    if constexpr (with_index) {
      row.take_max(other, __shfl_xor_sync(kAllLanes, row.at, offset));
    } else {
      row.max = fmaxf(row.max, other);
    }
  }
}

__device__ __forceinline__ int group_min(int x, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) x = min(x, __shfl_xor_sync(kAllLanes, x, offset));
  return x;
}

// From the warps' partials to the block's, in every thread. Warps are at most 32.
template <class T, bool with_index>
__device__ __forceinline__ void across_warps(Partial& row, Partial* buffer) {
  const int warps = static_cast<int>(blockDim.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) buffer[threadIdx.x / 32] = row;
  __syncthreads();
  const Partial mine = lane < warps ? buffer[lane] : nothing();
  row = mine;
  group_max<with_index>(row, 32);
  // A warp without columns, or of -inf only, has the sum 0 (and no exponent that could be relative to the block's).
  row.sum = group_sum(mine.max == -INFINITY ? mine.sum : mine.sum * exponential<T>(mine.max, row.shift()), 32);
}

template <class T, bool train>
__device__ __forceinline__ void finish(const RowArrays& a, const Partial& row, std::int64_t p, std::int64_t r,
                                       float target_logit) {
  a.loss[p * a.loss_stride + r] = logf(row.sum) + (row.shift() - target_logit);
  if constexpr (!train) a.predicted[p * a.predicted_stride + r] = row.at == INT_MAX ? 0 : row.at;
}

constexpr int most_threads(int packets) {
  return packets == 8 ? 1024 : packets == 4 ? 512 : kGroupThreads;
}

// Which threads share a row: a.lanes of a warp, a whole warp, a whole block. Constants where they can be.
enum class Sharing { part, warp, block };

// V packets of N elements a thread; lanes * V * N >= width.
template <class T, int N, int V, Sharing sharing, bool train>
__global__ void __launch_bounds__(most_threads(V)) loss_rows_kernel(T* logits, RowArrays a) {
  __shared__ Partial buffer[32];
  const Group group = group_of(sharing == Sharing::part ? a.lanes : sharing == Sharing::warp ? 32 : 64);
  const int lane = group.lane, in_warp = sharing == Sharing::part ? a.lanes : 32;
  const int threads = sharing == Sharing::block ? static_cast<int>(blockDim.x) : in_warp;  // of a row
  const std::int64_t p = blockIdx.y, r = static_cast<std::int64_t>(blockIdx.x) * group.count + group.index;
  const bool valid = r < a.rows;
  logits += p * a.logits_stride + r * a.width;
  Packed<T, N> packets[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int column = (k * threads + lane) * N;
    packets[k] = valid && column < a.width ? load<T, N>(logits + column) : zeros<T, N>();
  }
  const int target = valid ? a.targets[p * a.targets_stride + r] : -1;
  const bool scored = target >= 0;
  float target_logit = 0;
  if (scored && lane == 0) {
    float one[1];
    load_floats<T, 1>(logits + target, one);
    target_logit = one[0];
  }
  Partial row = nothing();
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int column = (k * threads + lane) * N;
    float x[N];
    unpack<T, N>(packets[k], x);
    if (column < a.width) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        row.max = fmaxf(row.max, x[j]);
      }
    }
  }
  group_max<false>(row, in_warp);
#pragma unroll
  for (int k = V - 1; k >= 0; --k) {
    const int column = (k * threads + lane) * N;
    float x[N];
    unpack<T, N>(packets[k], x);
    if (column < a.width) {
#pragma unroll
      for (int j = N - 1; j >= 0; --j) {
        row.sum += exponential<T>(x[j], row.shift());
        if constexpr (!train) row.at = x[j] == row.max ? column + j : row.at;  // ends with the lowest
      }
    }
  }
  row.sum = group_sum(row.sum, in_warp);
  if constexpr (!train) row.at = group_min(row.at, in_warp);
  if constexpr (sharing == Sharing::block) across_warps<T, !train>(row, buffer);
  if (!valid) return;
  if (lane == 0) {
    if (scored) {
      finish<T, train>(a, row, p, r, target_logit);
    } else {
      a.loss[p * a.loss_stride + r] = 0;
      if constexpr (!train) a.predicted[p * a.predicted_stride + r] = -1;
    }
  }
  if constexpr (train) {
    const float factor = a.scale / row.sum, shift = row.shift();
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const int column = (k * threads + lane) * N;
      if (column >= a.width) break;
      float x[N];
      unpack<T, N>(packets[k], x);
#pragma unroll
      for (int j = 0; j < N; ++j) x[j] = exponential<T>(x[j], shift) * factor;
      if (target >= column && target < column + N) {
#pragma unroll
        for (int j = 0; j < N; ++j) x[j] -= target == column + j ? a.scale : 0.0F;
      }
      store<T, N>(logits + column, scored ? pack<T, N>(x) : zeros<T, N>());
    }
  }
}

// A block a row, read once for the largest, once for the sum, and rewritten.
template <class T, bool train>
__global__ void __launch_bounds__(1024) wide_loss_rows_kernel(T* logits, RowArrays a) {
  __shared__ Partial buffer[2][32];
  const std::int64_t p = blockIdx.y, r = blockIdx.x;
  const int target = a.targets[p * a.targets_stride + r], lane = static_cast<int>(threadIdx.x);
  logits += p * a.logits_stride + r * a.width;
  const auto logit = [&](int column) {
    float one[1];
    load_floats<T, 1>(logits + column, one);
    return one[0];
  };
  const auto set = [&](int column, float x) {
    const float one[1] = {x};
    store_floats<T, 1>(logits + column, one);
  };
  if (target < 0) {
    if (lane == 0) {
      a.loss[p * a.loss_stride + r] = 0;
      if constexpr (!train) a.predicted[p * a.predicted_stride + r] = -1;
    }
    if constexpr (train) {
      for (int column = lane; column < a.width; column += static_cast<int>(blockDim.x)) set(column, 0);
    }
    return;
  }
  const float target_logit = logit(target);
  Partial row = nothing();
#pragma unroll 4
  for (int column = lane; column < a.width; column += static_cast<int>(blockDim.x)) {
    const float x = logit(column);
    if (x > row.max) {
      row.max = x;
      row.at = column;
    }
  }
  group_max<!train>(row, 32);
  across_warps<T, !train>(row, buffer[0]);
  row.sum = 0;
#pragma unroll 4
  for (int column = lane; column < a.width; column += static_cast<int>(blockDim.x)) {
    row.sum += exponential<T>(logit(column), row.shift());
  }
  row.sum = group_sum(row.sum, 32);
  across_warps<T, !train>(row, buffer[1]);
  if (lane == 0) finish<T, train>(a, row, p, r, target_logit);
  if constexpr (train) {
    const float factor = a.scale / row.sum;
#pragma unroll 4
    for (int column = lane; column < a.width; column += static_cast<int>(blockDim.x)) {
      set(column, exponential<T>(logit(column), row.shift()) * factor - (column == target ? a.scale : 0.0F));
    }
  }
}

template <class T, int N, int V, Sharing sharing, bool train>
void launch_rows(Context& ctx, const Tensor& logits, RowArrays a, int packets) {
  a.lanes = 32;
  if (sharing == Sharing::part) {
    while (a.lanes > 1 && a.lanes / 2 >= packets) a.lanes /= 2;
  }
  const int block = sharing == Sharing::block ? (packets + 32 * V - 1) / (32 * V) * 32 : kGroupThreads;
  const int rows = sharing == Sharing::block ? 1 : block / a.lanes;
  launch(ctx, loss_rows_kernel<T, N, V, sharing, train>,
         dim3(blocks_for(a.rows, rows), static_cast<unsigned>(logits.trials())), dim3(static_cast<unsigned>(block)), 0,
         data_of<T>(logits), a);
}

// The kernel is a function of dtype, width and alignment.
template <class T, bool train>
void loss_rows(Context& ctx, const Tensor& logits, const RowArrays& a) {
  constexpr int N = kLanes<T>;
  const int packets = a.width / N;
  if (a.width % N != 0 || !aligned(logits, 16) || packets > 8 * 1024) {
    const auto threads = static_cast<unsigned>(a.width >= 8 * 1024 ? 1024 : a.width < 256 ? 32 : a.width / 256 * 32);
    launch(ctx, wide_loss_rows_kernel<T, train>,
           dim3(static_cast<unsigned>(a.rows), static_cast<unsigned>(logits.trials())), dim3(threads), 0,
           data_of<T>(logits), a);
  } else if (packets <= 32) {
    launch_rows<T, N, 1, Sharing::part, train>(ctx, logits, a, packets);
  } else if (packets <= 64) {
    launch_rows<T, N, 2, Sharing::warp, train>(ctx, logits, a, packets);
  } else if (packets <= 128) {
    launch_rows<T, N, 4, Sharing::warp, train>(ctx, logits, a, packets);
  } else if (packets <= 4 * 512) {
    launch_rows<T, N, 4, Sharing::block, train>(ctx, logits, a, packets);
  } else {
    launch_rows<T, N, 8, Sharing::block, train>(ctx, logits, a, packets);
  }
}

RowArrays check_rows(const char* op, const Tensor& logits, const Tensor& targets, const Tensor& loss) {
  const Checks check(op);
  check.floating("logits", logits);
  check.require(logits.rank() == 3 && logits.dim(2) >= 1 && logits.dim(2) <= INT_MAX / 2,
                "logits should be [P, R, V], are " + cpu::describe(logits));
  check.sized("targets", targets, DType::i32, logits.trials(), logits.dim(1));
  check.sized("loss", loss, DType::f32, logits.trials(), logits.dim(1));
  RowArrays a{};
  a.targets = data_of<std::int32_t>(targets);
  a.loss = data_of<float>(loss);
  a.rows = logits.dim(1);
  a.width = static_cast<int>(logits.dim(2));
  a.logits_stride = logits.trial_stride();
  a.targets_stride = targets.trial_stride();
  a.loss_stride = loss.trial_stride();
  return a;
}

}  // namespace

void softmax_loss_rows(Context& ctx, const Tensor& logits, const Tensor& targets, double scale, const Tensor& loss) {
  RowArrays a = check_rows("softmax_loss_rows", logits, targets, loss);
  a.scale = static_cast<float>(scale);
  logits.dtype() == DType::f32 ? loss_rows<float, true>(ctx, logits, a) : loss_rows<bf16, true>(ctx, logits, a);
}

void argmax_loss_rows(Context& ctx, const Tensor& logits, const Tensor& targets, const Tensor& loss,
                      const Tensor& predicted) {
  RowArrays a = check_rows("argmax_loss_rows", logits, targets, loss);
  Checks("argmax_loss_rows").sized("predicted", predicted, DType::i32, logits.trials(), logits.dim(1));
  a.predicted = data_of<std::int32_t>(predicted);
  a.predicted_stride = predicted.trial_stride();
  logits.dtype() == DType::f32 ? loss_rows<float, false>(ctx, logits, a) : loss_rows<bf16, false>(ctx, logits, a);
}

}  // namespace hylas::kernels::cuda
