// How the bf16 recurrence is started: the kernels of kernels/cuda/recurrence.hpp in order, for one K, V and rule.
#pragma once

#include "kernels/cuda/recurrence_gradient.cuh"
#include "kernels/cuda/recurrence_output.cuh"
#include "kernels/cuda/recurrence_prepare.cuh"
#include "kernels/cuda/recurrence_segments.cuh"

namespace hylas::kernels::cuda {
namespace recurrence {

template <int K, int V, int warps, bool delta, bool forward, bool local>
void launch_walk(Context& ctx, const RecurrenceArguments& a) {
  using Plan = StatesPlan<K, warps, delta, forward>;
  const std::int64_t walks = a.all_heads() * (a.segments - (local ? 1 : 0));
  const dim3 grid(static_cast<unsigned>(walks * Plan::blocks(V, local)));
  if constexpr (forward) {
    launch(ctx, recurrence_states_kernel<K, V, warps, delta, local>, grid, dim3(Plan::threads), Plan::shared_bytes, a);
  } else {
    launch(ctx, recurrence_adjoints_kernel<K, V, warps, delta, local>, grid, dim3(Plan::threads), Plan::shared_bytes,
           a);
  }
}

// More warps a block share more of what they load; fewer spread few heads over more multiprocessors. The bits are the
// same: a warp keeps to its columns.
template <int K, int V, bool delta, bool forward, bool local>
void walk(Context& ctx, const RecurrenceArguments& a) {
  const std::int64_t walks = a.all_heads() * a.segments, wanted = ctx.gpu->multiprocessors();
  if constexpr (V == 128) {
    if (4 * walks >= 3 * wanted) return launch_walk<K, V, 8, delta, forward, local>(ctx, a);
  }
  if constexpr (V >= 64) {
    if (2 * walks * (V / 64) >= wanted) return launch_walk<K, V, 4, delta, forward, local>(ctx, a);
  }
  launch_walk<K, V, 2, delta, forward, local>(ctx, a);
}

template <int K, int V, bool delta, bool forward>
void serial(Context& ctx, const RecurrenceArguments& a) {
  if (a.segments > 1) {
    walk<K, V, delta, forward, true>(ctx, a);
    launch(ctx, recurrence_segments_kernel<K, V, delta, forward>, dim3(static_cast<unsigned>(a.all_heads())),
           dim3(2 * V), delta ? 2 * tile_bytes<K>(K) : 0, a);
  }
  walk<K, V, delta, forward, false>(ctx, a);
}

}  // namespace recurrence

template <int K, int V, bool delta>
void recurrence_forward_bf16(Context& ctx, const RecurrenceArguments& a) {
  const dim3 cells(static_cast<unsigned>(a.cells()));
  launch(ctx, recurrence_prepare_kernel<K, delta>, cells, dim3(128), recurrence::PreparePlan<K, delta>::shared_bytes,
         a);
  recurrence::serial<K, V, delta, true>(ctx, a);
  launch(ctx, recurrence_output_kernel<K, V, delta>, cells, dim3(128), recurrence::OutputPlan<K, V>::shared_bytes, a);
}

template <int K, int V, bool delta>
void recurrence_backward_bf16(Context& ctx, const RecurrenceArguments& a) {
  recurrence::serial<K, V, delta, false>(ctx, a);
  const auto blocks = static_cast<unsigned>(a.sequences() * a.groups * a.chunks);
  constexpr int bytes = recurrence::GradientPlan<K, V>::shared_bytes;
  if (a.groups == a.heads) {
    launch(ctx, recurrence_gradient_kernel<K, V, delta, false>, dim3(blocks), dim3(128), bytes, a);
  } else {
    launch(ctx, recurrence_gradient_kernel<K, V, delta, true>, dim3(blocks), dim3(128), bytes, a);
  }
}

}  // namespace hylas::kernels::cuda
