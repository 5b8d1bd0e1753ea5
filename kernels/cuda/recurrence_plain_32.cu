// CUDA: the bf16 recurrence without the delta rule, key and value dims 32.
#include "kernels/cuda/recurrence_launch.cuh"

namespace hylas::kernels::cuda {

template void recurrence_forward_bf16<32, 32, false>(Context& ctx, const RecurrenceArguments& a);
template void recurrence_backward_bf16<32, 32, false>(Context& ctx, const RecurrenceArguments& a);

}  // namespace hylas::kernels::cuda
