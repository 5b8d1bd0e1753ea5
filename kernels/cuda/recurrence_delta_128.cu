// CUDA: the bf16 recurrence with the delta rule, key and value dims 128.
#include "kernels/cuda/recurrence_launch.cuh"

namespace hylas::kernels::cuda {

template void recurrence_forward_bf16<128, 128, true>(Context& ctx, const RecurrenceArguments& a);
template void recurrence_backward_bf16<128, 128, true>(Context& ctx, const RecurrenceArguments& a);

}  // namespace hylas::kernels::cuda
