// The positions that have a target, side by side: what linear_cross_entropy runs the head on where they are few.
//
//   targets [P, B, T] i32, a target < 0 is none; trials may share them (trial stride 0)   n: kept of a sequence, >= 1
//
// Every element of a result is written, by one thread; results depend on the trial's own targets only.
// Errors: std::invalid_argument.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels::cuda {

// Sequence b's first n targets stand at [b n, (b + 1) n) of the kept ones, in the order of their positions.
struct TargetRows {
  Tensor position;  // [P, B n] i32: b T + t; -1 where the sequence has fewer than n
  Tensor target;    // [P, B n] i32: what stands in targets there; -1 likewise
  Tensor place;     // [P, B T] i32: where a position stands among the kept ones; no_target, or beyond_n
};
inline constexpr std::int32_t no_target = -1, beyond_n = -2;

// Takes the results from ctx.arena.
[[nodiscard]] TargetRows find_target_rows(Context& ctx, const Tensor& targets, std::int64_t n);
// to[i] = from[index[i]], zeros where index[i] < 0. from [P, R.., d], to [P, S.., d]: f32 or bf16; index [P, S] i32.
void take_rows(Context& ctx, const Tensor& from, const Tensor& index, const Tensor& to);
// loss and predicted at all positions [P, B, T] from those of the kept ones [P, B n]: 0 and -1 where there is no
// target, NaN and -1 beyond n. predicted may be absent.
void spread_losses(Context& ctx, const Tensor& place, const Tensor& kept_loss, const Tensor& kept_predicted,
                   const Tensor& loss, const Tensor& predicted);

}  // namespace hylas::kernels::cuda
