// CUDA: positions that have a target (target_rows.hpp). A warp takes a sequence and counts with ballots, in order; rows
// are moved a packet a thread, to the compact rows by position and back by place, so that no two threads write one
// element.
#include "kernels/cuda/target_rows.hpp"

#include <limits>

#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kRounds = 8;  // loads of a lane that are under way at once

struct FindArrays {
  const std::int32_t* targets;
  std::int32_t *position, *target, *place;
  std::int64_t targets_stride;
  int sequences, length, n;
};

__global__ void __launch_bounds__(kThreads) find_kernel(FindArrays a) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int b = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (b >= a.sequences) return;
  const std::int64_t p = blockIdx.y, sequence = p * a.sequences + b;
  const std::int32_t* targets = a.targets + p * a.targets_stride + static_cast<std::int64_t>(b) * a.length;
  std::int32_t* position = a.position + sequence * a.n;
  std::int32_t* target = a.target + sequence * a.n;
  std::int32_t* place = a.place + sequence * a.length;
  int found = 0;
  for (int first = 0; first < a.length; first += kRounds * 32) {
    std::int32_t here[kRounds];
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const int t = first + round * 32 + lane;
      here[round] = t < a.length ? targets[t] : -1;
    }
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const int t = first + round * 32 + lane;
      const bool has = here[round] >= 0;
      const unsigned lanes = __ballot_sync(kAllLanes, has);
      const int rank = found + __popc(lanes & ((1U << lane) - 1U));
      if (t < a.length) place[t] = !has ? no_target : rank < a.n ? b * a.n + rank : beyond_n;
      if (has && rank < a.n) {
        position[rank] = b * a.length + t;
        target[rank] = here[round];
      }
      found += __popc(lanes);
    }
  }
  for (int rank = found + lane; rank < a.n; rank += 32) {
    position[rank] = -1;
    target[rank] = -1;
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    take_kernel(const T* __restrict__ from, const std::int32_t* __restrict__ index, T* __restrict__ to,
                unsigned packets, Divisor per_row, std::int64_t from_stride, std::int64_t index_stride,
                std::int64_t to_stride) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= packets) return;
  const unsigned row = per_row.quotient(i), packet = i - row * per_row.divisor();
  const std::int64_t source = index[blockIdx.y * index_stride + row];
  const T* there = from + blockIdx.y * from_stride + (source * per_row.divisor() + packet) * N;
  store<T, N>(to + blockIdx.y * to_stride + static_cast<std::int64_t>(i) * N,
              source >= 0 ? load<T, N>(there) : zeros<T, N>());
}

template <class T, int N>
void take(Context& ctx, const Tensor& from, const Tensor& index, const Tensor& to) {
  const std::int64_t packets = to.trial_size() / N;
  launch(ctx, take_kernel<T, N>, dim3(blocks_for(packets, kThreads), static_cast<unsigned>(to.trials())),
         dim3(kThreads), 0, data_of<T>(from), data_of<std::int32_t>(index), data_of<T>(to),
         static_cast<unsigned>(packets), Divisor(to.dim(-1) / N), from.trial_stride(), index.trial_stride(),
         to.trial_stride());
}

struct SpreadArrays {
  const std::int32_t* place;
  const float* kept_loss;
  const std::int32_t* kept_predicted;
  float* loss;
  std::int32_t* predicted;  // or null
  std::int64_t size, place_stride, kept_loss_stride, kept_predicted_stride, loss_stride, predicted_stride;
};

__global__ void __launch_bounds__(kThreads) spread_kernel(SpreadArrays a) {
  const std::int64_t p = blockIdx.y, i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= a.size) return;
  const std::int32_t place = a.place[p * a.place_stride + i];
  a.loss[p * a.loss_stride + i] = place >= 0           ? a.kept_loss[p * a.kept_loss_stride + place]
                                  : place == no_target ? 0.0F
                                                       : __int_as_float(0x7fffffff);
  if (a.predicted == nullptr) return;
  a.predicted[p * a.predicted_stride + i] = place >= 0 ? a.kept_predicted[p * a.kept_predicted_stride + place] : -1;
}

}  // namespace

TargetRows find_target_rows(Context& ctx, const Tensor& targets, std::int64_t n) {
  const Checks check("find_target_rows");
  check.require(targets.rank() == 3 && targets.dtype() == DType::i32,
                "targets should be [P, B, T] i32, is " + cpu::describe(targets));
  const std::int64_t P = targets.dim(0), B = targets.dim(1), T = targets.dim(2);
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max() / 2;
  check.require(n >= 1 && n <= T && B * T <= most, "n should be 1..T and B T at most 2^30, n is " + std::to_string(n) +
                                                       ", targets " + cpu::describe(targets));
  const auto taken = [&](std::int64_t size) { return ctx.arena.tensor(DType::i32, {P, size}); };
  const TargetRows rows{.position = taken(B * n), .target = taken(B * n), .place = taken(B * T)};
  const FindArrays a{.targets = data_of<std::int32_t>(targets),
                     .position = data_of<std::int32_t>(rows.position),
                     .target = data_of<std::int32_t>(rows.target),
                     .place = data_of<std::int32_t>(rows.place),
                     .targets_stride = targets.trial_stride(),
                     .sequences = static_cast<int>(B),
                     .length = static_cast<int>(T),
                     .n = static_cast<int>(n)};
  launch(ctx, find_kernel, dim3(blocks_for(B, kWarps), static_cast<unsigned>(P)), dim3(kThreads), 0, a);
  return rows;
}

void take_rows(Context& ctx, const Tensor& from, const Tensor& index, const Tensor& to) {
  const Checks check("take_rows");
  const std::int64_t P = to.trials(), d = to.dim(-1);
  check.floating("to", to)
      .rows("from", from, to.dtype(), P, from.trial_rows(), d)
      .sized("index", index, DType::i32, P, to.trial_rows())
      .require(to.trial_size() <= std::numeric_limits<std::int32_t>::max(),
               "to should have less than 2^31 elements a trial, is " + cpu::describe(to));
  const bool vector = d % (16 / size_of(to.dtype())) == 0 && aligned(from, 16) && aligned(to, 16);
  if (to.dtype() == DType::f32) {
    vector ? take<float, kLanes<float>>(ctx, from, index, to) : take<float, 1>(ctx, from, index, to);
  } else {
    vector ? take<bf16, kLanes<bf16>>(ctx, from, index, to) : take<bf16, 1>(ctx, from, index, to);
  }
}

void spread_losses(Context& ctx, const Tensor& place, const Tensor& kept_loss, const Tensor& kept_predicted,
                   const Tensor& loss, const Tensor& predicted) {
  const Checks check("spread_losses");
  const std::int64_t P = loss.trials(), size = loss.trial_size(), kept = kept_loss.trial_size();
  check.sized("place", place, DType::i32, P, size)
      .sized("kept_loss", kept_loss, DType::f32, P, kept)
      .sized("loss", loss, DType::f32, P, size);
  if (predicted.defined()) {
    check.sized("kept_predicted", kept_predicted, DType::i32, P, kept)
        .sized("predicted", predicted, DType::i32, P, size);
  }
  const SpreadArrays a{.place = data_of<std::int32_t>(place),
                       .kept_loss = data_of<float>(kept_loss),
                       .kept_predicted = data_of<std::int32_t>(kept_predicted),
                       .loss = data_of<float>(loss),
                       .predicted = data_of<std::int32_t>(predicted),
                       .size = size,
                       .place_stride = place.trial_stride(),
                       .kept_loss_stride = kept_loss.trial_stride(),
                       .kept_predicted_stride = kept_predicted.trial_stride(),
                       .loss_stride = loss.trial_stride(),
                       .predicted_stride = predicted.trial_stride()};
  launch(ctx, spread_kernel, dim3(blocks_for(size, kThreads), static_cast<unsigned>(P)), dim3(kThreads), 0, a);
}

}  // namespace hylas::kernels::cuda
