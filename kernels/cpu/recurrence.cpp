// CPU: recurrence (kernels/recurrence.hpp): checks, scratch, and a walk over trials, sequences and groups of heads;
// recurrence_chunk*.hpp does the work. Saved: [0] the states before each chunk, [P, B, H, chunks, K V'], V' = V padded.
#include "kernels/recurrence.hpp"

#include <algorithm>
#include <string>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

constexpr std::int64_t any = Check::any;

// While it lives, this thread takes numbers below the normal range as 0. Products of decays and gradients that have
// decayed away pass through that range all the time, where x86 takes some hundred cycles an operation.
class NoDenormals {
 public:
  NoDenormals() : before_(control()) { set_control(before_ | mask); }
  ~NoDenormals() { set_control((control() & ~mask) | (before_ & mask)); }
  NoDenormals(const NoDenormals&) = delete;
  NoDenormals& operator=(const NoDenormals&) = delete;

 private:
  static constexpr unsigned mask = 1U << 15 | 1U << 6;  // results, operands
#if defined(__x86_64__)
  static unsigned control() {
    return _mm_getcsr();
  }
  static void set_control(unsigned value) {
    _mm_setcsr(value);
  }
#else
  static unsigned control() {
    return 0;
  }
  static void set_control(unsigned /*value*/) {}
#endif
  unsigned before_;
};

std::int64_t chunks_of(const Recurrence& shape, std::int64_t length) {
  return (length + shape.chunk - 1) / shape.chunk;
}

bool constant_decay(const RecurrenceInputs& in) {
  return in.g.defined() && in.g.rank() == 2;
}

void check_shape(const Check& check, const Recurrence& shape, std::int64_t width) {
  check.require(
      shape.heads >= 1 && shape.groups >= 1 && shape.heads % shape.groups == 0,
      "groups should divide the heads, are " + std::to_string(shape.groups) + " and " + std::to_string(shape.heads));
  check.require(shape.key_dim >= 1 && shape.value_dim >= 1 && shape.chunk >= 1,
                "key_dim, value_dim and chunk should be at least 1, are " + std::to_string(shape.key_dim) + ", " +
                    std::to_string(shape.value_dim) + " and " + std::to_string(shape.chunk));
  struct Columns {
    const char* name;
    std::int64_t at, count;
  };
  const std::int64_t keys = shape.groups * shape.key_dim;
  for (const Columns& c : {Columns{"q", shape.q_at, keys}, Columns{"k", shape.k_at, keys},
                           Columns{"v", shape.v_at, shape.value_width()}}) {
    check.require(c.at >= 0 && c.at + c.count <= width, std::string(c.name) + "'s columns " + std::to_string(c.at) +
                                                            " .. " + std::to_string(c.at + c.count) +
                                                            " should lie in the " + std::to_string(width) + " of qkv");
  }
}

void check_inputs(const Check& check, const Recurrence& shape, const RecurrenceInputs& in) {
  const DType dtype = in.qkv.dtype();
  check.tensor("qkv", in.qkv, dtype, {any, any, any, any});
  check_shape(check, shape, in.qkv.dim(3));
  const std::int64_t trials = in.qkv.trials(), batch = in.qkv.dim(1), length = in.qkv.dim(2);
  if (constant_decay(in)) {
    check.tensor("g", in.g, dtype, {1, shape.heads});
  } else {
    check.tensor("g", in.g, dtype, {trials, batch, length, shape.heads});
  }
  if (in.beta.defined()) check.tensor("beta", in.beta, dtype, {trials, batch, length, shape.heads});
  if (in.skip.defined()) check.tensor("skip", in.skip, dtype, {trials, shape.heads});
}

void check_gradients(const Check& check, const Recurrence& shape, const RecurrenceInputs& in,
                     const RecurrenceGradients& d) {
  const DType dtype = in.qkv.dtype();
  const std::int64_t trials = in.qkv.trials(), batch = in.qkv.dim(1), length = in.qkv.dim(2);
  check.tensor("dqkv", d.dqkv, dtype, {trials, batch, length, in.qkv.dim(3)});
  check.require(d.dg.defined() != constant_decay(in), "dg should be there exactly where g is not constant");
  check.require(d.dbeta.defined() == in.beta.defined(), "dbeta should be there exactly where beta is");
  check.require(d.dskip.defined() == in.skip.defined(), "dskip should be there exactly where skip is");
  if (d.dg.defined()) check.tensor("dg", d.dg, dtype, {trials, batch, length, shape.heads});
  if (d.dbeta.defined()) check.tensor("dbeta", d.dbeta, dtype, {trials, batch, length, shape.heads});
  if (d.dskip.defined()) check.tensor("dskip", d.dskip, dtype, {trials, shape.heads});
}

template <class T>
RecurrenceBuffers<T> forward_buffers(Arena& arena, const Recurrence& shape, std::int64_t length) {
  const std::int64_t c = std::min(shape.chunk, length);
  const std::int64_t wide = recurrence_padded(c), keys = recurrence_padded(shape.key_dim),
                     values = recurrence_padded(shape.value_dim);
  RecurrenceBuffers<T> at;
  at.log_decay = arena.take<double>(wide);
  for (T** vector : {&at.from_start, &at.to_end, &at.beta}) *vector = arena.take<T>(wide);
  for (T** rows : {&at.q, &at.k}) *rows = arena.take<T>(c * keys);
  at.k_t = arena.take<T>(shape.key_dim * wide);
  for (T** square : {&at.qk, &at.decay, &at.scores}) *square = arena.take<T>(c * wide);
  if (shape.delta) {
    for (T** square : {&at.kk, &at.solve}) *square = arena.take<T>(c * wide);
  }
  for (T** rows : {&at.read, &at.written, &at.values}) *rows = arena.take<T>(c * values);
  return at;
}

template <class T>
RecurrenceBuffers<T> backward_buffers(Arena& arena, const Recurrence& shape, std::int64_t length) {
  const std::int64_t c = std::min(shape.chunk, length);
  const std::int64_t wide = recurrence_padded(c), keys = recurrence_padded(shape.key_dim),
                     values = recurrence_padded(shape.value_dim);
  RecurrenceBuffers<T> at = forward_buffers<T>(arena, shape, length);
  for (T** rows : {&at.dout, &at.dwritten}) *rows = arena.take<T>(c * values);
  for (T** square : {&at.dscores, &at.segments, &at.dscores_sum}) *square = arena.take<T>(c * wide);
  if (shape.delta) {
    for (T** square : {&at.dsolve, &at.dsolve_sum}) *square = arena.take<T>(c * wide);
  }
  for (T** rows : {&at.dq, &at.dk, &at.dq_head}) *rows = arena.take<T>(c * keys);
  at.written_t = arena.take<T>(shape.value_dim * wide);
  at.state_t = arena.take<T>(shape.value_dim * keys);
  for (T** vector : {&at.inter, &at.later, &at.suffix}) *vector = arena.take<T>(wide);
  at.dstates = arena.take<T>(shape.heads / shape.groups * shape.key_dim * values);
  return at;
}

// Group j of sequence b of trial p, forward part.
template <class T>
RecurrenceGroup<T> group_of(const Recurrence& shape, const RecurrenceInputs& in, const Tensor& states, std::int64_t p,
                            std::int64_t b, std::int64_t j) {
  RecurrenceGroup<T> s;
  s.length = in.qkv.dim(2);
  s.chunk = shape.chunk;
  s.heads = shape.heads / shape.groups;
  s.key_dim = shape.key_dim;
  s.value_dim = shape.value_dim;
  s.stride = in.qkv.dim(3);
  s.out_stride = shape.value_width();
  s.scale = static_cast<T>(shape.scale);
  s.delta = shape.delta;
  s.gate_stride = shape.heads;
  const std::int64_t head = j * s.heads;
  const std::int64_t gates = b * s.length * shape.heads + head;
  const T* sequence = in.qkv.trial<T>(p) + b * s.length * s.stride;
  s.q = sequence + shape.q_at + j * s.key_dim;
  s.k = sequence + shape.k_at + j * s.key_dim;
  s.v = sequence + shape.v_at + head * s.value_dim;
  s.g_stride = constant_decay(in) ? 0 : shape.heads;
  s.g = constant_decay(in) ? in.g.trial<T>() + head : in.g.trial<T>(p) + gates;
  if (in.beta.defined()) s.beta = in.beta.trial<T>(p) + gates;
  if (in.skip.defined()) s.skip = in.skip.trial<T>(p) + head;
  s.states = states.trial<T>(p) + (b * shape.heads + head) * states.dim(3) * states.dim(4);
  return s;
}

}  // namespace

void recurrence_forward(Context& ctx, const Recurrence& shape, const RecurrenceInputs& in, const Tensor& out,
                        RecurrenceSaved& saved) {
  const Check check(ctx, "recurrence_forward");
  check.by_dtype("qkv", in.qkv, [&](auto zero) {
    using T = decltype(zero);
    check_inputs(check, shape, in);
    const std::int64_t trials = in.qkv.trials(), batch = in.qkv.dim(1), length = in.qkv.dim(2);
    check.tensor("out", out, in.qkv.dtype(), {trials, batch, length, shape.value_width()});
    saved = {};
    saved[0] = ctx.arena.tensor(in.qkv.dtype(), {trials, batch, shape.heads, chunks_of(shape, length),
                                                 shape.key_dim * recurrence_padded(shape.value_dim)});
    const ArenaScope scope(ctx.arena);
    const auto buffers = forward_buffers<T>(ctx.arena, shape, length);
    const NoDenormals scoped;
    for (std::int64_t p = 0; p < trials; ++p) {
      for (std::int64_t i = 0; i < batch * shape.groups; ++i) {
        const std::int64_t b = i / shape.groups, j = i % shape.groups;
        auto group = group_of<T>(shape, in, saved[0], p, b, j);
        group.out = out.trial<T>(p) + b * length * group.out_stride + j * group.heads * group.value_dim;
        loops<T>(ctx).recurrence_forward(group, buffers);
      }
    }
  });
}

void recurrence_backward(Context& ctx, const Recurrence& shape, const RecurrenceInputs& in,
                         const RecurrenceSaved& saved, const Tensor& dout, const RecurrenceGradients& gradients) {
  const Check check(ctx, "recurrence_backward");
  check.by_dtype("qkv", in.qkv, [&](auto zero) {
    using T = decltype(zero);
    check_inputs(check, shape, in);
    check_gradients(check, shape, in, gradients);
    const std::int64_t trials = in.qkv.trials(), batch = in.qkv.dim(1), length = in.qkv.dim(2);
    check.tensor("dout", dout, in.qkv.dtype(), {trials, batch, length, shape.value_width()});
    check.tensor(
        "saved states", saved[0], in.qkv.dtype(),
        {trials, batch, shape.heads, chunks_of(shape, length), shape.key_dim * recurrence_padded(shape.value_dim)});
    const ArenaScope scope(ctx.arena);
    const auto buffers = backward_buffers<T>(ctx.arena, shape, length);
    const NoDenormals scoped;
    for (std::int64_t p = 0; p < trials; ++p) {
      for (std::int64_t i = 0; i < batch * shape.groups; ++i) {
        const std::int64_t b = i / shape.groups, j = i % shape.groups;
        auto group = group_of<T>(shape, in, saved[0], p, b, j);
        const std::int64_t gates = b * length * shape.heads + j * group.heads;
        group.dout = dout.trial<T>(p) + b * length * group.out_stride + j * group.heads * group.value_dim;
        T* sequence = gradients.dqkv.trial<T>(p) + b * length * group.stride;
        group.dq = sequence + shape.q_at + j * group.key_dim;
        group.dk = sequence + shape.k_at + j * group.key_dim;
        group.dv = sequence + shape.v_at + j * group.heads * group.value_dim;
        if (gradients.dg.defined()) group.dg = gradients.dg.trial<T>(p) + gates;
        if (gradients.dbeta.defined()) group.dbeta = gradients.dbeta.trial<T>(p) + gates;
        if (gradients.dskip.defined()) group.dskip = gradients.dskip.trial<T>(p) + j * group.heads;
        loops<T>(ctx).recurrence_backward(group, buffers);
      }
    }
  });
}

}  // namespace hylas::kernels::cpu
