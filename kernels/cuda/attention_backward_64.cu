// CUDA: the bf16 backward kernel of attention for head dim 64.
#include "kernels/cuda/attention_backward.cuh"

namespace hylas::kernels::cuda {

template void attention_backward_bf16<64>(Context& ctx, const AttentionBackward& a);

}  // namespace hylas::kernels::cuda
