// CUDA: attention_probe (kernels/attention_probe.hpp). K and V are read through the caches; no tensor cores, no shared
// memory, so any T works.
//
// Forward: a warp owns 32 / `lanes` neighbouring queries of a head and walks over the keys that one of them sees, with
// an online softmax per query; a query is spread over `lanes` lanes of 32 columns each. Lanes of equal columns read
// the same elements, so that one load serves all queries of the warp.
// Statistics: a warp owns one query; its lanes take every 32nd visible key, each with an online softmax of its own that
// also carries the entropy, and are merged at the end.
#include <cmath>
#include <limits>

#include "kernels/attention_probe.hpp"
#include "kernels/backends.hpp"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

using attention::trial;

constexpr int warps = 4;         // of a block
constexpr int own_columns = 32;  // of a lane

struct Probe {
  AttentionShape shape;
  PerTrial<const void> qkv;
  PerTrial<const std::int32_t> first_keys;  // [P]
  PerTrial<const std::int32_t> head_on;     // [P, H]
  float scale = 1;

  [[nodiscard]] constexpr int width() const { return (shape.heads + 2 * shape.kv_heads) * shape.dim; }
};

struct Statistics {
  const std::int32_t* query = nullptr;   // [n]
  const std::int32_t* answer = nullptr;  // [n]
  int n = 0;
  PerTrial<float> values;      // [P, H, n, ProbeStatistic::count]
  PerTrial<std::int32_t> top;  // [P, H, n]
};

// The number of this warp in the grid.
__device__ __forceinline__ std::int64_t warp_index() {
  return std::int64_t{blockIdx.x} * warps + threadIdx.x / 32;
}

__device__ __forceinline__ VisibleKeys visible(const Probe& a, int p, int query, int last) {
  const int first_keys = a.first_keys.data == nullptr ? 0 : max(0, *trial(a.first_keys, p));
  return {query, last, attention::window_of(a.shape, p), first_keys};
}

// Head `head` (queries, keys, values in order) of position t of sequence b.
template <class T>
__device__ __forceinline__ const T* head_at(const Probe& a, int p, int b, std::int64_t t, int head) {
  return static_cast<const T*>(a.qkv.data) + p * a.qkv.stride +
         (static_cast<std::int64_t>(b) * a.shape.length + t) * a.width() + head * a.shape.dim;
}

// Columns 0 .. n - 1 of a lane's columns, zeros beyond; n is a multiple of `piece`.
template <class T, int piece>
__device__ __forceinline__ void load_columns(const T* from, int n, float (&to)[own_columns]) {
#pragma unroll
  for (int c = 0; c < own_columns; c += piece) {
    float part[piece] = {};
    if (c < n) load_floats<T, piece>(from + c, part);
#pragma unroll
    for (int i = 0; i < piece; ++i) to[c + i] = part[i];
  }
}

template <class T, int piece>
__device__ __forceinline__ void store_columns(T* to, int n, const float (&from)[own_columns]) {
#pragma unroll
  for (int c = 0; c < own_columns; c += piece) {
    float part[piece];
#pragma unroll
    for (int i = 0; i < piece; ++i) part[i] = from[c + i];
    if (c < n) store_floats<T, piece>(to + c, part);
  }
}

// This lane's part of q . k; four sums, so that one addition need not wait for the other.
__device__ __forceinline__ float part_of_dot(const float (&q)[own_columns], const float (&k)[own_columns]) {
  float sums[4] = {};
#pragma unroll
  for (int c = 0; c < own_columns; ++c) sums[c % 4] = fmaf(q[c], k[c], sums[c % 4]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

template <class T, int piece, int lanes>
__global__ __launch_bounds__(32 * warps) void forward_kernel(Probe a, PerTrial<void> out) {
  constexpr int queries = 32 / lanes;
  const AttentionShape& s = a.shape;
  const int blocks = (s.length + queries - 1) / queries;
  const std::int64_t head = warp_index() / blocks;
  if (head >= s.query_heads()) return;
  const int first = (blocks - 1 - static_cast<int>(warp_index() % blocks)) * queries;  // those with the most keys first
  const int h = static_cast<int>(head % s.heads);
  const int b = static_cast<int>(head / s.heads % s.batch);
  const int p = static_cast<int>(head / s.heads / s.batch);
  const int kv = s.heads + h / (s.heads / s.kv_heads);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int column = lane % lanes * own_columns;
  const int n = s.dim - column;  // columns from this lane's first on; may be none
  const int t = first + lane / lanes;

  float q[own_columns], sum[own_columns] = {};
  float top = -INFINITY, total = 0;
  const bool on = a.head_on.data == nullptr || trial(a.head_on, p)[h] != 0;
  if (on) {
    load_columns<T, piece>(head_at<T>(a, p, b, min(t, s.length - 1), h) + column, n, q);
    const VisibleKeys own = visible(a, p, t, t);
    const VisibleKeys all = visible(a, p, first, min(first + queries, s.length) - 1);
    const std::int64_t count = all.count();
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t key = all.key(i);
      float k[own_columns], v[own_columns];
      load_columns<T, piece>(head_at<T>(a, p, b, key, kv) + column, n, k);
      load_columns<T, piece>(head_at<T>(a, p, b, key, kv + s.kv_heads) + column, n, v);
      const float score = group_sum(part_of_dot(q, k), lanes) * a.scale;
      if (!own.has(key)) continue;
      if (score > top) {
        const float shrink = expf(top - score);
        total *= shrink;
#pragma unroll
        for (float& x : sum) x *= shrink;
        top = score;
      }
      const float weight = expf(score - top);
      total += weight;
#pragma unroll
      for (int c = 0; c < own_columns; ++c) sum[c] = fmaf(weight, v[c], sum[c]);
    }
    if (attention::sink_is_on(s, p)) total += expf(trial(s.sink, p)[h] - top);
#pragma unroll
    for (float& x : sum) x /= total;
  }
  if (t >= s.length) return;
  T* to = static_cast<T*>(out.data) + p * out.stride +
          ((static_cast<std::int64_t>(b) * s.length + t) * s.heads + h) * s.dim + column;
  store_columns<T, piece>(to, n, sum);
}

// q . k as one chain of fused multiply-adds: the bits do not depend on `piece`, and are those of the CPU.
template <class T, int piece>
__device__ __forceinline__ float chained_dot(const T* q, const T* k, int dim) {
  float dot = 0;
  for (int c = 0; c < dim; c += piece) {
    float x[piece], y[piece];
    load_floats<T, piece>(q + c, x);
    load_floats<T, piece>(k + c, y);
#pragma unroll
    for (int i = 0; i < piece; ++i) dot = fmaf(x[i], y[i], dot);
  }
  return dot;
}

// The softmax over some keys of a query. Sums are relative to the largest score; scores are before the scale.
struct Weights {
  float top = -INFINITY;
  float total = 0;   // sum of the weights
  float spread = 0;  // sum of weight * (largest logit - logit)
  int key = -1;      // of the largest score

  // The same sums relative to `score`, at least as large as top.
  __device__ void raise(float score, float scale) {
    if (score == top) return;
    const float by = (score - top) * scale;
    const float shrink = expf(-by);
    if (total > 0) spread = (spread + total * by) * shrink;  // by is infinite where there is nothing yet
    total *= shrink;
    top = score;
  }
  __device__ void add(float score, int at, float scale) {
    if (score > top) {
      raise(score, scale);
      key = at;
    }
    const float below = (top - score) * scale;
    const float weight = expf(-below);
    total += weight;
    spread += weight * below;
  }
  __device__ void merge(Weights other, float scale) {
    if (other.key >= 0 && (other.top > top || (other.top == top && other.key < key))) key = other.key;
    const float larger = fmaxf(top, other.top);
    raise(larger, scale);
    other.raise(larger, scale);
    total += other.total;
    spread += other.spread;
  }
};

template <class T, int piece>
__global__ __launch_bounds__(32 * warps) void statistics_kernel(Probe a, Statistics to) {
  const AttentionShape& s = a.shape;
  const std::int64_t head = warp_index() / to.n;
  if (head >= std::int64_t{s.trials} * s.heads) return;
  const int i = static_cast<int>(warp_index() % to.n);
  const int h = static_cast<int>(head % s.heads);
  const int p = static_cast<int>(head / s.heads);
  const int kv = s.heads + h / (s.heads / s.kv_heads);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float* values = trial(to.values, p) + (std::int64_t{h} * to.n + i) * ProbeStatistic::count;
  std::int32_t* top = trial(to.top, p) + std::int64_t{h} * to.n + i;
  const int query = to.query[i];
  if (query < 0 || query >= std::int64_t{s.batch} * s.length) {
    if (lane < ProbeStatistic::count) values[lane] = NAN;
    if (lane == 0) *top = -1;
    return;
  }
  const int b = query / s.length;
  const int t = query % s.length;
  const VisibleKeys keys = visible(a, p, t, t);
  const T* q = head_at<T>(a, p, b, t, h);
  Weights weights;
  for (std::int64_t j = lane; j < keys.count(); j += 32) {
    const auto key = static_cast<int>(keys.key(j));
    weights.add(chained_dot<T, piece>(q, head_at<T>(a, p, b, key, kv), s.dim), key, a.scale);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    Weights other;
    other.top = __shfl_xor_sync(kAllLanes, weights.top, step);
    other.total = __shfl_xor_sync(kAllLanes, weights.total, step);
    other.spread = __shfl_xor_sync(kAllLanes, weights.spread, step);
    other.key = __shfl_xor_sync(kAllLanes, weights.key, step);
    weights.merge(other, a.scale);
  }
  if (lane > 0) return;
  float all = weights.total;
  if (attention::sink_is_on(s, p)) all += expf(trial(s.sink, p)[h] - weights.top * a.scale);
  const auto weight_on = [&](std::int64_t key) {
    if (!keys.has(key)) return 0.0F;
    const float score = chained_dot<T, piece>(q, head_at<T>(a, p, b, key, kv), s.dim);
    return expf((score - weights.top) * a.scale) / all;
  };
  values[ProbeStatistic::on_answer] = weight_on(to.answer[i]);
  values[ProbeStatistic::on_previous] = weight_on(t - 1);
  values[ProbeStatistic::entropy] = logf(weights.total) + weights.spread / weights.total;
  values[ProbeStatistic::keys] = static_cast<float>(keys.count());
  *top = weights.key;
}

template <class T>
PerTrial<T> per_trial(const Tensor& t) {
  return {data_of<T>(t), t.trial_stride()};
}

Probe probe_of(const Checks& check, const Heads& heads, const AttentionProbeData& data, const Tensor& qkv) {
  check.floating("qkv", qkv);
  check.require(heads.query >= 1 && heads.kv >= 1 && heads.query % heads.kv == 0,
                "KV heads should divide the query heads, are " + std::to_string(heads.kv) + " and " +
                    std::to_string(heads.query));
  const bool bf16_values = qkv.dtype() == DType::bf16;
  const std::int64_t hd = heads.dim;
  check.require(
      bf16_values ? hd == 32 || hd == 64 || hd == 128 : hd >= 2 && hd % 2 == 0 && hd <= attention_fp32_largest_dim,
      (bf16_values ? "in bf16 the head dim should be 32, 64 or 128, is "
                   : "the head dim should be even and at most 256, is ") +
          std::to_string(hd));
  check.require(
      qkv.rank() == 4 && qkv.dim(3) == (heads.query + 2 * heads.kv) * hd,
      "qkv should be [P, B, T, " + std::to_string((heads.query + 2 * heads.kv) * hd) + "], is " + cpu::describe(qkv));
  check.require(!bf16_values || aligned(qkv, 16), "qkv should begin at a multiple of 16 bytes in every trial");
  const std::int64_t P = qkv.trials();
  check.sized("window", data.window, DType::i32, P, 1);
  if (data.first_keys.defined()) check.sized("first_keys", data.first_keys, DType::i32, P, 1);
  if (data.sink.defined()) check.sized("sink", data.sink, DType::f32, P, heads.query);
  if (data.sink_on.defined()) check.sized("sink_on", data.sink_on, DType::i32, P, 1);
  if (data.head_on.defined()) check.sized("head_on", data.head_on, DType::i32, P, heads.query);
  constexpr std::int64_t most = std::numeric_limits<int>::max();
  check.require(qkv.dim(2) <= most / 2 && P * qkv.dim(1) * heads.query * (qkv.dim(2) / 4 + 1) <= most,
                "qkv has more (trial, sequence, head, block of queries) than one launch can hold");
  Probe a;
  AttentionShape& s = a.shape;
  s.trials = static_cast<int>(P), s.batch = static_cast<int>(qkv.dim(1)), s.length = static_cast<int>(qkv.dim(2));
  s.heads = static_cast<int>(heads.query), s.kv_heads = static_cast<int>(heads.kv), s.dim = static_cast<int>(hd);
  s.window = per_trial<const std::int32_t>(data.window);
  s.sink = per_trial<const float>(data.sink);
  s.sink_on = per_trial<const std::int32_t>(data.sink_on);
  a.qkv = per_trial<const void>(qkv);
  a.first_keys = per_trial<const std::int32_t>(data.first_keys);
  a.head_on = per_trial<const std::int32_t>(data.head_on);
  a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(hd)));
  return a;
}

template <class T, int piece, int lanes>
void forward(Context& ctx, const Probe& a, const Tensor& out) {
  constexpr int queries = 32 / lanes;
  const std::int64_t all = a.shape.query_heads() * ((a.shape.length + queries - 1) / queries);
  launch(ctx, forward_kernel<T, piece, lanes>, dim3(blocks_for(all, warps)), dim3(32 * warps), 0, a,
         per_trial<void>(out));
}

template <class T, int piece>
void forward_by_dim(Context& ctx, const Probe& a, const Tensor& out) {
  if (a.shape.dim <= 32) return forward<T, piece, 1>(ctx, a, out);
  if (a.shape.dim <= 64) return forward<T, piece, 2>(ctx, a, out);
  if (a.shape.dim <= 128) return forward<T, piece, 4>(ctx, a, out);
  static_assert(attention_fp32_largest_dim == 256);
  if constexpr (sizeof(T) == 4) forward<T, piece, 8>(ctx, a, out);
}

template <class T, int piece>
void statistics_of(Context& ctx, const Probe& a, const Statistics& to) {
  const std::int64_t all = std::int64_t{a.shape.trials} * a.shape.heads * to.n;
  launch(ctx, statistics_kernel<T, piece>, dim3(blocks_for(all, warps)), dim3(32 * warps), 0, a, to);
}

}  // namespace

void attention_probe_forward(Context& ctx, const Heads& heads, const AttentionProbeData& data, const Tensor& qkv,
                             const Tensor& out) {
  const Checks check("attention_probe_forward");
  const Probe a = probe_of(check, heads, data, qkv);
  check.require(out.defined() && out.rank() == 4 && out.dim(1) == qkv.dim(1),
                "out should be [P, B, T, H * hd], is " + cpu::describe(out));
  check.rows("out", out, qkv.dtype(), qkv.trials(), qkv.dim(1) * qkv.dim(2), heads.query * heads.dim);
  if (qkv.dtype() == DType::bf16) {
    check.require(aligned(out, 16), "out should begin at a multiple of 16 bytes in every trial");
    return forward_by_dim<bf16, kLanes<bf16>>(ctx, a, out);
  }
  const bool vector = heads.dim % kLanes<float> == 0 && aligned(qkv, 16) && aligned(out, 16);
  vector ? forward_by_dim<float, kLanes<float>>(ctx, a, out) : forward_by_dim<float, 1>(ctx, a, out);
}

void attention_probe_statistics(Context& ctx, const Heads& heads, const AttentionProbeData& data,
                                const ProbeQueries& queries, const Tensor& qkv, const Tensor& statistics,
                                const Tensor& top) {
  const Checks check("attention_probe_statistics");
  const Probe a = probe_of(check, heads, data, qkv);
  const std::int64_t n = queries.query.defined() ? queries.query.size() : 0;
  if (n == 0) return;
  check.sized("query", queries.query, DType::i32, 1, n);
  check.sized("answer", queries.answer, DType::i32, 1, n);
  check.rows("statistics", statistics, DType::f32, qkv.trials(), heads.query * n, ProbeStatistic::count);
  check.sized("top", top, DType::i32, qkv.trials(), heads.query * n);
  check.require(n * qkv.trials() * heads.query <= std::numeric_limits<int>::max(),
                "there are more (trial, head, query) than one launch can hold");
  Statistics to;
  to.query = data_of<const std::int32_t>(queries.query);
  to.answer = data_of<const std::int32_t>(queries.answer);
  to.n = static_cast<int>(n);
  to.values = per_trial<float>(statistics);
  to.top = per_trial<std::int32_t>(top);
  if (qkv.dtype() == DType::bf16) return statistics_of<bf16, kLanes<bf16>>(ctx, a, to);
  const bool vector = heads.dim % kLanes<float> == 0 && aligned(qkv, 16);
  vector ? statistics_of<float, kLanes<float>>(ctx, a, to) : statistics_of<float, 1>(ctx, a, to);
}

}  // namespace hylas::kernels::cuda
