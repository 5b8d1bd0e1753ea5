// CUDA: the recurrence (kernels/recurrence.hpp): checks, memory, and which kernels run (kernels/cuda/recurrence.hpp).
//
// saved: bf16: the gates (f32), the matrices, the states, one cell after the other, and behind the states what segments
// do to a state; fp32: the states before every 32nd
// token.
#include "kernels/cuda/recurrence.hpp"

#include <limits>
#include <string>

#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/runtime.hpp"

namespace hylas::kernels::cuda {
namespace {

constexpr std::int64_t largest_dim = 128;

template <class T>
PerTrial<T> per_trial(const Tensor& t) {
  return {static_cast<T*>(t.data()), t.trial_stride()};
}

// Kernels read and write bf16 rows in pieces of 16 bytes; those for dims of 128 take 114 KiB of shared memory a block.
void check_bf16(const Context& ctx, const Checks& checks, const Recurrence& shape, std::int64_t width) {
  const int capability = ctx.gpu->capability();
  const bool small_shared = capability == 86 || capability == 89 || capability >= 120;
  checks.require(!small_shared || shape.key_dim < 128,
                 "in bf16 on a GPU with 99 KiB of shared memory a thread block, key_dim should be 32 or 64");
  const std::int64_t dim = shape.key_dim;
  checks.require(dim == shape.value_dim && (dim == 32 || dim == 64 || dim == 128),
                 "in bf16 key_dim and value_dim should be equal and 32, 64 or 128, are " + std::to_string(dim) +
                     " and " + std::to_string(shape.value_dim));
  checks.require(shape.q_at % 8 == 0 && shape.k_at % 8 == 0 && shape.v_at % 8 == 0 && width % 8 == 0,
                 "in bf16 q_at, k_at, v_at and the width of qkv should be multiples of 8");
}

RecurrenceArguments arguments(const Context& ctx, const Checks& checks, const Recurrence& shape,
                              const RecurrenceInputs& in) {
  const Tensor& qkv = in.qkv;
  checks.floating("qkv", qkv).require(qkv.rank() == 4, "qkv should be [P, B, T, W], is " + cpu::describe(qkv));
  const std::int64_t P = qkv.trials(), B = qkv.dim(1), T = qkv.dim(2), W = qkv.dim(3), H = shape.heads;
  checks.require(H >= 1 && shape.groups >= 1 && H % shape.groups == 0,
                 "groups should divide the heads, are " + std::to_string(shape.groups) + " and " + std::to_string(H));
  const std::int64_t K = shape.key_dim, V = shape.value_dim;
  checks.require(
      K >= 1 && V >= 1 && K <= largest_dim && V <= largest_dim,
      "key_dim and value_dim should be 1 to 128 on a GPU, are " + std::to_string(K) + " and " + std::to_string(V));
  const auto holds = [&](std::int64_t at, std::int64_t columns) { return at >= 0 && at + columns <= W; };
  checks.require(holds(shape.q_at, shape.groups * K) && holds(shape.k_at, shape.groups * K) && holds(shape.v_at, H * V),
                 "qkv should hold the columns of q, k and v, is " + cpu::describe(qkv));
  const bool fixed_g = in.g.defined() && in.g.rank() == 2;
  checks.sized("g", in.g, DType::f32, fixed_g ? 1 : P, fixed_g ? H : B * T * H);
  if (in.beta.defined()) checks.sized("beta", in.beta, DType::f32, P, B * T * H);
  if (in.skip.defined()) checks.sized("skip", in.skip, DType::f32, P, H);
  if (qkv.dtype() == DType::bf16) {
    check_bf16(ctx, checks, shape, W);
    checks.require(aligned(qkv, 16), "qkv should begin at a multiple of 16 bytes in every trial");
  }
  RecurrenceArguments a;
  a.trials = static_cast<int>(P), a.batch = static_cast<int>(B), a.length = static_cast<int>(T);
  a.heads = static_cast<int>(H), a.groups = static_cast<int>(shape.groups);
  a.key_dim = static_cast<int>(K), a.value_dim = static_cast<int>(V);
  a.chunks = static_cast<int>((T + recurrence_chunk - 1) / recurrence_chunk);
  a.segments = a.chunks > 2 * recurrence_segment_chunks
                   ? (a.chunks + recurrence_segment_chunks - 1) / recurrence_segment_chunks
                   : 1;
  a.segment_chunks = a.segments > 1 ? recurrence_segment_chunks : a.chunks;
  a.width = W, a.q_at = shape.q_at, a.k_at = shape.k_at, a.v_at = shape.v_at;
  a.scale = static_cast<float>(shape.scale);
  a.fixed_g = fixed_g;
  a.qkv = per_trial<const void>(qkv);
  a.g = per_trial<const float>(in.g);
  a.beta = per_trial<const float>(in.beta);
  a.skip = per_trial<const float>(in.skip);
  checks.require(T <= std::numeric_limits<int>::max() / 2 && a.cells() <= std::numeric_limits<int>::max() &&
                     a.all_heads() * a.segments * 8 <= std::numeric_limits<int>::max(),
                 "qkv has more (trial, sequence, head, chunk) than one launch can hold");
  return a;
}

// Elements of what a cell keeps, of what a head keeps of its segments, and of what the fp32 kernels keep of a head.
struct Sizes {
  std::int64_t gates, matrices, states, transitions, boundaries, checkpoints;

  Sizes(const RecurrenceArguments& a, bool delta)
      : gates(recurrence_gate_floats),
        matrices((delta ? 2 : 1) * recurrence_chunk * recurrence_chunk),
        states(a.value_dim * (a.key_dim + recurrence_chunk)),
        transitions(a.segments > 1 && delta ? a.segments * std::int64_t{a.key_dim} * a.key_dim : 0),
        boundaries(a.segments > 1 ? a.segments * std::int64_t{a.key_dim} * a.value_dim : 0),
        checkpoints((a.length + recurrence_interval - 1) / recurrence_interval * std::int64_t{a.key_dim} *
                    a.value_dim) {}
};

// What the tensors of `saved` hold.
void place_saved(RecurrenceArguments& a, const Sizes& sizes, const RecurrenceSaved& saved, bool bf16) {
  if (!bf16) {
    a.checkpoints = data_of<float>(saved[0]);
    return;
  }
  a.gates = data_of<float>(saved[0]);
  a.matrices = saved[1].data();
  a.states = saved[2].data();
  a.transitions = data_of<std::uint16_t>(saved[2]) + a.cells() * sizes.states;
}

template <int dim>
void forward_bf16(Context& ctx, const RecurrenceArguments& a, bool delta) {
  if (delta) return recurrence_forward_bf16<dim, dim, true>(ctx, a);
  recurrence_forward_bf16<dim, dim, false>(ctx, a);
}
template <int dim>
void backward_bf16(Context& ctx, const RecurrenceArguments& a, bool delta) {
  if (delta) return recurrence_backward_bf16<dim, dim, true>(ctx, a);
  recurrence_backward_bf16<dim, dim, false>(ctx, a);
}

}  // namespace

void recurrence_forward(Context& ctx, const Recurrence& shape, const RecurrenceInputs& in, const Tensor& out,
                        RecurrenceSaved& saved) {
  const Checks checks("recurrence_forward");
  RecurrenceArguments a = arguments(ctx, checks, shape, in);
  const Tensor& qkv = in.qkv;
  const bool bf16 = qkv.dtype() == DType::bf16;
  checks.rows("out", out, qkv.dtype(), a.trials, std::int64_t{a.batch} * a.length, shape.value_width());
  checks.require(!bf16 || aligned(out, 16), "out should begin at a multiple of 16 bytes in every trial");
  a.out = per_trial<void>(out);
  const Sizes sizes(a, shape.delta);
  saved = {};
  if (bf16) {
    saved[0] = ctx.arena.tensor(DType::f32, {a.cells(), sizes.gates});
    saved[1] = ctx.arena.tensor(DType::bf16, {a.cells(), sizes.matrices});
    saved[2] = ctx.arena.tensor(DType::bf16, {1, a.cells() * sizes.states + a.all_heads() * sizes.transitions});
  } else {
    saved[0] = ctx.arena.tensor(DType::f32, {a.all_heads(), sizes.checkpoints});
  }
  place_saved(a, sizes, saved, bf16);
  if (a.all_heads() == 0 || a.length == 0) return;
  if (!bf16) return recurrence_forward_fp32(ctx, a, shape.delta);
  const ArenaScope scope(ctx.arena);
  a.boundaries = ctx.arena.take<float>(a.all_heads() * sizes.boundaries);
  if (shape.key_dim == 32) return forward_bf16<32>(ctx, a, shape.delta);
  if (shape.key_dim == 64) return forward_bf16<64>(ctx, a, shape.delta);
  forward_bf16<128>(ctx, a, shape.delta);
}

void recurrence_backward(Context& ctx, const Recurrence& shape, const RecurrenceInputs& in,
                         const RecurrenceSaved& saved, const Tensor& dout, const RecurrenceGradients& gradients) {
  const Checks checks("recurrence_backward");
  RecurrenceArguments a = arguments(ctx, checks, shape, in);
  const Tensor& qkv = in.qkv;
  const bool bf16 = qkv.dtype() == DType::bf16;
  const std::int64_t rows = std::int64_t{a.batch} * a.length;
  checks.rows("dout", dout, qkv.dtype(), a.trials, rows, shape.value_width());
  checks.rows("dqkv", gradients.dqkv, qkv.dtype(), a.trials, rows, a.width);
  checks.require(!bf16 || (aligned(dout, 16) && aligned(gradients.dqkv, 16)),
                 "dout and dqkv should begin at a multiple of 16 bytes in every trial");
  if (!a.fixed_g) checks.sized("dg", gradients.dg, DType::f32, a.trials, rows * a.heads);
  if (in.beta.defined()) checks.sized("dbeta", gradients.dbeta, DType::f32, a.trials, rows * a.heads);
  if (in.skip.defined()) checks.sized("dskip", gradients.dskip, DType::f32, a.trials, a.heads);
  a.dout = per_trial<const void>(dout);
  a.dqkv = per_trial<void>(gradients.dqkv);
  if (!a.fixed_g) a.dg = per_trial<float>(gradients.dg);
  if (in.beta.defined()) a.dbeta = per_trial<float>(gradients.dbeta);
  if (in.skip.defined()) a.dskip = per_trial<float>(gradients.dskip);

  const Sizes sizes(a, shape.delta);
  checks.require(saved[0].defined() && (!bf16 || (saved[1].defined() && saved[2].defined())) &&
                     saved[0].size() == (bf16 ? a.cells() * sizes.gates : a.all_heads() * sizes.checkpoints),
                 "saved should be what forward left");
  place_saved(a, sizes, saved, bf16);
  if (a.all_heads() == 0 || a.length == 0) return;
  const ArenaScope scope(ctx.arena);
  const int parts = bf16 ? a.chunks : 1;
  if (in.skip.defined()) a.skip_parts = ctx.arena.take<float>(a.all_heads() * parts);
  if (bf16) {
    a.boundaries = ctx.arena.take<float>(a.all_heads() * sizes.boundaries);
    a.adjoints = ctx.arena.take<std::uint16_t>(a.cells() * sizes.states);
    if (shape.key_dim == 32) backward_bf16<32>(ctx, a, shape.delta);
    if (shape.key_dim == 64) backward_bf16<64>(ctx, a, shape.delta);
    if (shape.key_dim == 128) backward_bf16<128>(ctx, a, shape.delta);
  } else {
    a.interval =
        ctx.arena.take<float>(a.sequences() * a.groups * recurrence_interval * std::int64_t{a.key_dim} * a.value_dim);
    recurrence_backward_fp32(ctx, a, shape.delta);
  }
  if (in.skip.defined()) recurrence_skip_sum(ctx, a, parts);
}

}  // namespace hylas::kernels::cuda
