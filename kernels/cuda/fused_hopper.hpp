// The Hopper kernels behind fused.hpp: checked arguments in, one launch each. Only for .cu files of this folder.
#pragma once

#include "kernels/cuda/fused.cuh"

namespace hylas::kernels::cuda {

struct FfnBackward {
  dim3 grid;
  int d = 0, f = 0, rows = 0;
  float eps = 0;
  fused::Trials<const fused::Bf16> dy, x;
  fused::Trials<const float> norm_weight;
  fused::Trials<const fused::Bf16> gate_up, down;
  fused::Trials<fused::Bf16> dx, h, act, dgate_up;
  fused::NormPartials partials;
};
void ffn_backward_hopper(Context& ctx, const FfnBackward& p);

struct RopeTable {
  const float* cos = nullptr;  // [T, hd / 2]; null: no rotation
  const float* sin = nullptr;
  const std::int32_t* on = nullptr;  // [P]
  std::int64_t on_stride = 0;
  int length = 1;   // T
  int columns = 0;  // those of the query and key heads
};
struct NormLinearForward {
  dim3 grid;
  int d = 0, columns = 0, rows = 0, head = 0;  // head: 0 or the heads' dimension
  float eps = 0;
  fused::Trials<const fused::Bf16> x;
  fused::Trials<const float> norm_weight;
  fused::Trials<const fused::Bf16> w;
  fused::Trials<fused::Bf16> y;
  RopeTable rope;
};
void norm_linear_forward_hopper(Context& ctx, const NormLinearForward& p);

struct NormLinearBackward {
  dim3 grid;
  int d = 0, columns = 0, rows = 0;
  float eps = 0;
  fused::Trials<const fused::Bf16> dy, x;
  fused::Trials<const float> norm_weight;
  fused::Trials<const fused::Bf16> w, residual;
  fused::Trials<fused::Bf16> dx, h;
  fused::NormPartials partials;
};
void norm_linear_backward_hopper(Context& ctx, const NormLinearBackward& p);

// Whether the Context's GPU runs them.
[[nodiscard]] bool fused_on_hopper(const Context& ctx);

}  // namespace hylas::kernels::cuda
