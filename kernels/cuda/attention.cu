// CUDA: attention (kernels/attention.hpp): checks, scratch, and which kernels run. Context::baseline keeps to the
// portable ones where the GPU could do more.
#include "kernels/cuda/attention.hpp"

#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/backends.hpp"
#include "kernels/cuda/attention_hopper.hpp"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr double log2_e = 1.4426950408889634;

void require(bool holds, const char* op, const std::string& what) {
  if (!holds) throw std::invalid_argument(std::string(op) + ": " + what);
}

void require_tensor(const char* op, const char* name, const Tensor& t, DType dtype,
                    std::initializer_list<std::int64_t> dims) {
  bool holds = t.defined() && t.dtype() == dtype && t.rank() == static_cast<int>(dims.size());
  std::string expected;
  int i = 0;
  for (auto d : dims) {
    holds = holds && t.dim(i++) == d;
    expected += (expected.empty() ? "" : ", ") + std::to_string(d);
  }
  require(holds, op, std::string(name) + " is missing or not [" + expected + "] of the dtype this operator expects");
}

// Kernels read and write bf16 rows in pieces of 16 bytes.
void require_aligned(const char* op, const char* name, const Tensor& t) {
  require(
      t.dtype() != DType::bf16 || (reinterpret_cast<std::uintptr_t>(t.data()) % 16 == 0 && t.trial_stride() % 8 == 0),
      op, std::string(name) + " should begin at a multiple of 16 bytes in every trial");
}

template <class T>
PerTrial<T> per_trial(const Tensor& t) {
  return {static_cast<T*>(t.data()), t.trial_stride()};
}

AttentionShape shape_of(const char* op, const Heads& heads, const AttentionData& data, const Tensor& qkv,
                        const Tensor& out, const Tensor& lse) {
  require(heads.query >= 1 && heads.kv >= 1 && heads.query % heads.kv == 0, op,
          "KV heads should divide the query heads, are " + std::to_string(heads.kv) + " and " +
              std::to_string(heads.query));
  require(qkv.defined() && qkv.rank() == 4 && (qkv.dtype() == DType::f32 || qkv.dtype() == DType::bf16), op,
          "qkv should be [P, B, T, (H + 2 Hkv) * hd] of f32 or bf16");
  const std::int64_t P = qkv.trials(), B = qkv.dim(1), T = qkv.dim(2), hd = heads.dim;
  if (qkv.dtype() == DType::bf16) {
    require(hd == 32 || hd == 64 || hd == 128, op,
            "in bf16 the head dim should be 32, 64 or 128, is " + std::to_string(hd));
  } else {
    require(hd >= 2 && hd % 2 == 0 && hd <= attention_fp32_largest_dim, op,
            "the head dim should be even and at most 256, is " + std::to_string(hd));
  }
  require_tensor(op, "qkv", qkv, qkv.dtype(), {P, B, T, (heads.query + 2 * heads.kv) * hd});
  require_tensor(op, "out", out, qkv.dtype(), {P, B, T, heads.query * hd});
  require_tensor(op, "lse", lse, DType::f32, {P, B, heads.query, T});
  require_tensor(op, "window", data.window, DType::i32, {P});
  if (data.sink.defined()) require_tensor(op, "sink", data.sink, DType::f32, {P, heads.query});
  if (data.sink_on.defined()) require_tensor(op, "sink_on", data.sink_on, DType::i32, {P});
  require_aligned(op, "qkv", qkv);
  require_aligned(op, "out", out);
  AttentionShape s;
  s.trials = static_cast<int>(P), s.batch = static_cast<int>(B), s.length = static_cast<int>(T);
  s.heads = static_cast<int>(heads.query), s.kv_heads = static_cast<int>(heads.kv), s.dim = static_cast<int>(hd);
  s.window = per_trial<const std::int32_t>(data.window);
  s.sink = per_trial<const float>(data.sink);
  s.sink_on = per_trial<const std::int32_t>(data.sink_on);
  require(T <= std::numeric_limits<int>::max() / 2 && s.query_heads() * (T / 32 + 1) <= std::numeric_limits<int>::max(),
          op, "qkv has more (trial, sequence, head, block of rows) than one launch can hold");
  return s;
}

}  // namespace

void attention_forward(Context& ctx, const Heads& heads, const AttentionData& data, const Tensor& qkv,
                       const Tensor& out, const Tensor& lse) {
  AttentionForward a;
  a.shape = shape_of("attention_forward", heads, data, qkv, out, lse);
  a.qkv = per_trial<const void>(qkv);
  a.out = per_trial<void>(out);
  a.lse = per_trial<float>(lse);
  if (qkv.dtype() == DType::f32) return attention_forward_fp32(ctx, a);
  if (!ctx.baseline && hopper_attention_forward(ctx, heads, data, qkv, out, lse)) return;
  if (heads.dim == 32) return attention_forward_bf16<32>(ctx, a);
  if (heads.dim == 64) return attention_forward_bf16<64>(ctx, a);
  attention_forward_bf16<128>(ctx, a);
}

void attention_backward(Context& ctx, const Heads& heads, const AttentionData& data, const Rope& rope,
                        const Tensor& qkv, const Tensor& out, const Tensor& lse, const Tensor& dout, const Tensor& dqkv,
                        const Tensor& dsink) {
  const char* op = "attention_backward";
  AttentionBackward a;
  const AttentionShape& s = a.shape = shape_of(op, heads, data, qkv, out, lse);
  require_tensor(op, "dout", dout, qkv.dtype(), {out.dim(0), out.dim(1), out.dim(2), out.dim(3)});
  require_tensor(op, "dqkv", dqkv, qkv.dtype(), {qkv.dim(0), qkv.dim(1), qkv.dim(2), qkv.dim(3)});
  require_aligned(op, "dout", dout);
  require_aligned(op, "dqkv", dqkv);
  if (data.sink.defined()) require_tensor(op, "dsink", dsink, DType::f32, {qkv.dim(0), heads.query});
  if (rope.on.defined()) {
    require_tensor(op, "rope.cos", rope.cos, DType::f32, {1, qkv.dim(2), heads.dim / 2});
    require_tensor(op, "rope.sin", rope.sin, DType::f32, {1, qkv.dim(2), heads.dim / 2});
    require_tensor(op, "rope.on", rope.on, DType::i32, {qkv.dim(0)});
    a.cos = static_cast<const float*>(rope.cos.data());
    a.sin = static_cast<const float*>(rope.sin.data());
    a.rope_on = per_trial<const std::int32_t>(rope.on);
  }
  a.qkv = per_trial<const void>(qkv);
  a.out = per_trial<const void>(out);
  a.dout = per_trial<const void>(dout);
  a.lse = per_trial<const float>(lse);
  a.dqkv = per_trial<void>(dqkv);
  a.dsink = per_trial<float>(dsink);

  const ArenaScope scope(ctx.arena);
  const std::int64_t blocks = s.query_heads() * s.query_blocks();
  if (!ctx.baseline && hopper_attention_backward(ctx, heads, data, rope, qkv, out, lse, dout, dqkv)) {
    if (!data.sink.defined()) return;
    a.sink_parts = ctx.arena.take<float>(blocks);
    attention_rows(ctx, a, true, static_cast<float>(log2_e));  // for the sinks alone
    attention_sink_sum(ctx, a);
    return;
  }
  a.row_lse = ctx.arena.take<float>(blocks * attention_queries);
  a.row_delta = ctx.arena.take<float>(blocks * attention_queries);
  a.sink_parts = ctx.arena.take<float>(blocks);
  const bool bf16 = qkv.dtype() == DType::bf16;
  if (bf16) {
    // Keys in one block, of 64 or more, need no sums across blocks; the kernel does not touch them then.
    const bool one_block = s.length <= attention_queries;
    a.dq_sums = ctx.arena.take<float>(one_block ? 4 : blocks * attention_queries * heads.dim);
    a.dq_ready = ctx.arena.take<std::int32_t>(blocks);
    a.ticket = ctx.arena.take<std::int32_t>(1);
    attention_rows(ctx, a, true, static_cast<float>(log2_e));
    if (heads.dim == 32) attention_backward_bf16<32>(ctx, a);
    if (heads.dim == 64) attention_backward_bf16<64>(ctx, a);
    if (heads.dim == 128) attention_backward_bf16<128>(ctx, a);
  } else {
    attention_rows(ctx, a, false, 1.0F);
    attention_backward_fp32(ctx, a);
  }
  if (data.sink.defined()) attention_sink_sum(ctx, a);
}

}  // namespace hylas::kernels::cuda
