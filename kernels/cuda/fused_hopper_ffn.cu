// Host side of the feed-forward branch on Hopper: when its kernels apply, and the tensor maps of the copy engine.
#include <string>

#include "kernels/cuda/fused_hopper_ffn.cuh"
#include "kernels/cuda/tensor_map.cuh"

namespace hylas::kernels::cuda::fused_tma {
namespace {

// A map of (column, row, part, trial): `parts` parts of `rows` rows a trial.
CUtensorMap map_of(const Context& ctx, const Tensor& t, std::int64_t rows, std::int64_t parts, int box_rows,
                   int box_parts) {
  CUtensorMap map{};
  if (ctx.planning) return map;
  const auto columns = static_cast<cuuint64_t>(t.dim(-1));
  const auto part = columns * static_cast<cuuint64_t>(rows);
  const auto trial = static_cast<cuuint64_t>(t.trials() == 1 ? t.trial_size() : t.trial_stride());
  const cuuint64_t dims[4] = {columns, static_cast<cuuint64_t>(rows), static_cast<cuuint64_t>(parts),
                              static_cast<cuuint64_t>(t.trials())};
  const cuuint64_t strides[3] = {columns * 2, part * 2, trial * 2};  // bytes, of dims 1..3
  const cuuint32_t box[4] = {64, static_cast<cuuint32_t>(box_rows), static_cast<cuuint32_t>(box_parts), 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const CUresult result = tensor_map_encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, t.data(), dims, strides, box,
                                               steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw CudaError("cuTensorMapEncodeTiled failed with code " + std::to_string(static_cast<int>(result)));
  }
  return map;
}

}  // namespace

bool applies(const Context& ctx, std::int64_t d, std::int64_t f) {
  return ctx.gpu != nullptr && ctx.gpu->hopper() && (d == 128 || d == 256) && f > 0 && f % chunk == 0 && f < (1 << 24);
}

bool addressable(const Tensor& t, DType dtype) {
  return t.defined() && t.dtype() == dtype && reinterpret_cast<std::uintptr_t>(t.data()) % 16 == 0 &&
         (t.trials() == 1 || (t.trial_stride() > 0 && t.trial_stride() * size_of(dtype) % 16 == 0));
}

CUtensorMap rows_map(const Context& ctx, const Tensor& t) {
  return map_of(ctx, t, t.trial_rows(), 1, rows_of_group, 1);
}
CUtensorMap gate_up_map(const Context& ctx, const Tensor& t, int rows) {
  return map_of(ctx, t, t.trial_rows() / 2, 2, rows, 2);
}
CUtensorMap down_map(const Context& ctx, const Tensor& t) {
  return map_of(ctx, t, t.trial_rows(), 1, static_cast<int>(t.trial_rows()), 1);
}

}  // namespace hylas::kernels::cuda::fused_tma
