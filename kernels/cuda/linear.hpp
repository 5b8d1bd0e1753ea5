// Weight gradients with a fixed number of partial sums: what linear_backward_weight and the head's gradient share.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels::cuda {

// dw [P, out, in] f32 += dy^T x over all rows. Where out x in has too few tiles to fill a GPU, the rows are cut into a
// fixed number of chunks (a function of the shapes only), whose products are summed in order.
void accumulate_weight_gradient(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& dw);
// sum [P, n] f32 += parts [P, chunks, n] f32, chunk after chunk.
void add_parts(Context& ctx, const Tensor& parts, const Tensor& sum);
// The same for few columns of many chunks, 32 of them side by side: a trial's chunk c begins at c * width, and sum's n
// columns `first` further. Any n and alignment.
void add_chunks(Context& ctx, const Tensor& parts, std::int64_t chunks, std::int64_t width, std::int64_t first,
                const Tensor& sum);

}  // namespace hylas::kernels::cuda
