// CPU: attention (kernels/attention.hpp): walks over trials, sequences and heads; attention_head*.hpp does the work.
#include "kernels/attention.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

// Everything but the pointers that only backward has.
void check_attention(const cpu::Check& check, const Heads& heads, const AttentionData& data, const Tensor& qkv,
                     const Tensor& out, const Tensor& lse) {
  check.require(heads.dim >= 1 && heads.query >= 1 && heads.kv >= 1 && heads.query % heads.kv == 0,
                "KV heads should divide the query heads, are " + std::to_string(heads.kv) + " and " +
                    std::to_string(heads.query) + " of dim " + std::to_string(heads.dim));
  const std::int64_t trials = qkv.trials();
  const std::int64_t any = cpu::Check::any;
  check.tensor("qkv", qkv, qkv.dtype(), {trials, any, any, (heads.query + 2 * heads.kv) * heads.dim});
  check.tensor("out", out, qkv.dtype(), {trials, qkv.dim(1), qkv.dim(2), heads.query * heads.dim});
  check.tensor("lse", lse, qkv.dtype(), {trials, qkv.dim(1), heads.query, qkv.dim(2)});
  check.tensor("window", data.window, DType::i32, {trials});
  if (data.sink.defined()) check.tensor("sink", data.sink, qkv.dtype(), {trials, heads.query});
  if (data.sink_on.defined()) check.tensor("sink_on", data.sink_on, DType::i32, {trials});
  for (std::int64_t p = 0; p < trials; ++p) {
    const auto window = *data.window.trial<std::int32_t>(p);
    check.require(window >= 1,
                  "the window of trial " + std::to_string(p) + " should be at least 1, is " + std::to_string(window));
  }
}

// Head h of sequence b of trial p, forward part.
template <class T>
cpu::AttentionHead<T> head_of(const Heads& heads, const AttentionData& data, const Tensor& qkv, const Tensor& out,
                              const Tensor& lse, std::int64_t p, std::int64_t b, std::int64_t h) {
  cpu::AttentionHead<T> head;
  head.length = qkv.dim(2);
  head.dim = heads.dim;
  head.window = *data.window.trial<std::int32_t>(p);
  head.stride = qkv.dim(3);
  head.out_stride = out.dim(3);
  head.scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(heads.dim)));
  const bool sink_on = data.sink.defined() && (!data.sink_on.defined() || *data.sink_on.trial<std::int32_t>(p) != 0);
  head.sink = sink_on ? data.sink.trial<T>(p) + h : nullptr;
  const std::int64_t kv = h / (heads.query / heads.kv);
  const T* sequence = qkv.trial<T>(p) + b * head.length * head.stride;
  head.q = sequence + h * heads.dim;
  head.k = sequence + (heads.query + kv) * heads.dim;
  head.v = sequence + (heads.query + heads.kv + kv) * heads.dim;
  head.out = out.trial<T>(p) + b * head.length * head.out_stride + h * heads.dim;
  head.lse = lse.trial<T>(p) + (b * heads.query + h) * head.length;
  return head;
}

// dK and dV of a sequence are sums over query heads: they start at zero.
template <class T>
void clear_kv(const Heads& heads, std::int64_t length, std::int64_t stride, T* sequence) {
  for (std::int64_t t = 0; t < length; ++t) {
    std::fill_n(sequence + t * stride + heads.query * heads.dim, 2 * heads.kv * heads.dim, T{});
  }
}

}  // namespace

void attention_forward(Context& ctx, const Heads& heads, const AttentionData& data, const Tensor& qkv,
                       const Tensor& out, const Tensor& lse) {
  const cpu::Check check(ctx, "attention_forward");
  check.by_dtype("qkv", qkv, [&](auto zero) {
    using T = decltype(zero);
    check_attention(check, heads, data, qkv, out, lse);
    const ArenaScope scope(ctx.arena);
    T* scratch = ctx.arena.take<T>(cpu::attention_scratch(heads.dim));
    for (std::int64_t p = 0; p < qkv.trials(); ++p) {
      for (std::int64_t i = 0; i < qkv.dim(1) * heads.query; ++i) {
        const auto head = head_of<T>(heads, data, qkv, out, lse, p, i / heads.query, i % heads.query);
        cpu::loops<T>(ctx).attention_forward(head, scratch);
      }
    }
  });
}

void attention_backward(Context& ctx, const Heads& heads, const AttentionData& data, const Rope& rope,
                        const Tensor& qkv, const Tensor& out, const Tensor& lse, const Tensor& dout, const Tensor& dqkv,
                        const Tensor& dsink) {
  const cpu::Check check(ctx, "attention_backward");
  check.by_dtype("qkv", qkv, [&](auto zero) {
    using T = decltype(zero);
    check_attention(check, heads, data, qkv, out, lse);
    check.tensor("dout", dout, qkv.dtype(), {out.dim(0), out.dim(1), out.dim(2), out.dim(3)});
    check.tensor("dqkv", dqkv, qkv.dtype(), {qkv.dim(0), qkv.dim(1), qkv.dim(2), qkv.dim(3)});
    if (data.sink.defined()) check.tensor("dsink", dsink, qkv.dtype(), {qkv.trials(), heads.query});
    const ArenaScope scope(ctx.arena);
    T* scratch = ctx.arena.take<T>(cpu::attention_scratch(heads.dim));
    for (std::int64_t p = 0; p < qkv.trials(); ++p) {
      for (std::int64_t i = 0; i < qkv.dim(1) * heads.query; ++i) {
        const std::int64_t b = i / heads.query;
        const std::int64_t h = i % heads.query;
        auto head = head_of<T>(heads, data, qkv, out, lse, p, b, h);
        T* dsequence = dqkv.trial<T>(p) + b * head.length * head.stride;
        if (h == 0) clear_kv(heads, head.length, head.stride, dsequence);
        const T* sequence = qkv.trial<T>(p) + b * head.length * head.stride;
        head.dout = dout.trial<T>(p) + (head.out - out.trial<T>(p));
        head.dq = dsequence + (head.q - sequence);
        head.dk = dsequence + (head.k - sequence);
        head.dv = dsequence + (head.v - sequence);
        head.dsink = head.sink != nullptr ? dsink.trial<T>(p) + h : nullptr;
        cpu::loops<T>(ctx).attention_backward(head, scratch);
      }
    }
  });
  if (rope.on.defined()) cpu::qkv_rope_backward(ctx, heads, rope, dqkv);
}

}  // namespace hylas::kernels::cpu
