// Host side of the Hopper kernels: which GPUs run them, and the tensor maps of the copy engine.
#include "kernels/cuda/fused_hopper.cuh"
#include "kernels/cuda/fused_hopper.hpp"
#include "kernels/cuda/tensor_map.cuh"

namespace hylas::kernels::cuda {
namespace fused {

CUtensorMap matrix_map(const Context& ctx, const Trials<const Bf16>& w, std::int64_t trials, std::int64_t rows,
                       std::int64_t columns, int box_rows, int box_columns) {
  CUtensorMap map{};
  if (ctx.planning) return map;
  const auto width = static_cast<cuuint64_t>(columns);
  const auto trial = static_cast<cuuint64_t>(trials == 1 ? rows * columns : w.stride);
  const cuuint64_t dims[4] = {width, static_cast<cuuint64_t>(rows), 1, static_cast<cuuint64_t>(trials)};
  const cuuint64_t strides[3] = {width * 2, trial * 2, trial * 2};  // bytes, of dims 1..3
  const cuuint32_t box[4] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows), 1, 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const CUresult result = tensor_map_encoder()(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<Bf16*>(w.data), dims, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, box_columns == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw CudaError("cuTensorMapEncodeTiled failed with code " + std::to_string(static_cast<int>(result)));
  }
  return map;
}

}  // namespace fused

bool fused_on_hopper(const Context& ctx) {
  return ctx.gpu != nullptr && ctx.gpu->hopper();
}

}  // namespace hylas::kernels::cuda
