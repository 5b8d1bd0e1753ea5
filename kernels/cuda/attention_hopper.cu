// Attention on Hopper, host side of both directions: when the kernels apply, and the tensor maps of the copy engine.
#include <string>

#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.cuh"

namespace hylas::kernels::cuda::hopper {

bool addressable(const Tensor& t) {
  return reinterpret_cast<std::uintptr_t>(t.data()) % 16 == 0 && t.dim(-1) % 8 == 0 &&
         (t.trials() == 1 || (t.trial_stride() % 8 == 0 && t.trial_stride() > 0));
}

CUtensorMap tensor_map(const Context& ctx, const Tensor& t) {
  CUtensorMap map{};
  if (ctx.planning) return map;
  const auto columns = static_cast<cuuint64_t>(t.dim(-1));
  const auto length = static_cast<cuuint64_t>(t.dim(2));
  const auto trial = static_cast<cuuint64_t>(t.trials() == 1 ? t.trial_size() : t.trial_stride());
  const cuuint64_t dims[4] = {columns, length, static_cast<cuuint64_t>(t.dim(1)), static_cast<cuuint64_t>(t.trials())};
  const cuuint64_t strides[3] = {columns * 2, columns * length * 2, trial * 2};  // bytes, of dims 1..3
  const cuuint32_t box[4] = {box_columns, box_rows, 1, 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const CUresult result = tensor_map_encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, t.data(), dims, strides, box,
                                               steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw CudaError("cuTensorMapEncodeTiled failed with code " + std::to_string(static_cast<int>(result)));
  }
  return map;
}

bool applies(const Context& ctx, const Heads& heads, const Tensor& qkv) {
  constexpr std::int64_t most = 1 << 30;
  return ctx.gpu != nullptr && ctx.gpu->hopper() && qkv.dtype() == DType::bf16 &&
         (heads.dim == 64 || heads.dim == 128) && addressable(qkv) &&
         qkv.trials() * qkv.dim(1) * heads.query * (qkv.dim(2) / 64 + 2) < most && qkv.dim(2) < most;
}

Sizes sizes_of(const Heads& heads, const Tensor& qkv) {
  Sizes s;
  s.trials = static_cast<int>(qkv.trials());
  s.batch = static_cast<int>(qkv.dim(1));
  s.length = static_cast<int>(qkv.dim(2));
  s.heads = static_cast<int>(heads.query);
  s.kv_heads = static_cast<int>(heads.kv);
  s.scale = heads.dim == 64 ? 0.125f : 0.08838834764831845f;
  return s;
}

AttentionData trials_from(const AttentionData& data, std::int64_t p, std::int64_t count) {
  AttentionData part;
  part.window = data.window.trials_from(p, count);
  if (data.sink.defined()) part.sink = data.sink.trials_from(p, count);
  if (data.sink_on.defined()) part.sink_on = data.sink_on.trials_from(p, count);
  return part;
}

}  // namespace hylas::kernels::cuda::hopper
