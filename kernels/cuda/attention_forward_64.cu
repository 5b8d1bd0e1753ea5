// CUDA: the bf16 forward kernel of attention for head dim 64.
#include "kernels/cuda/attention_forward.cuh"

namespace hylas::kernels::cuda {

template void attention_forward_bf16<64>(Context& ctx, const AttentionForward& a);

}  // namespace hylas::kernels::cuda
