// The kernels of GPUs that the emulator is not: they say so, and the portable path runs.
#include "kernels/cuda/attention_hopper.hpp"

namespace hylas::kernels::cuda {

bool hopper_attention_forward(Context& /*ctx*/, const Heads& /*heads*/, const AttentionData& /*data*/,
                              const Tensor& /*qkv*/, const Tensor& /*out*/, const Tensor& /*lse*/) {
  return false;
}
bool hopper_attention_backward(Context& /*ctx*/, const Heads& /*heads*/, const AttentionData& /*data*/,
                               const Rope& /*rope*/, const Tensor& /*qkv*/, const Tensor& /*out*/,
                               const Tensor& /*lse*/, const Tensor& /*dout*/, const Tensor& /*dqkv*/) {
  return false;
}

}  // namespace hylas::kernels::cuda
