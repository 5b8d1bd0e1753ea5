// CUDA: the recurrence token by token in fp32, for parity with the CPU and small runs, and the ordered sum of dskip.
//
// Forward: a thread owns a column of V and keeps the state's column in shared memory. Backward: a thread block walks
// over the heads that share queries and keys and, in each, over intervals of tokens from the last to the first; it
// makes the states of an interval again from the one that forward kept. Threads are columns where a sum runs over
// the state's rows and rows where it runs over its columns, so that every sum has one owner and one order.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/recurrence.hpp"
#include "kernels/cuda/reduce.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int interval = recurrence_interval;
constexpr int forward_threads = 64, backward_threads = 128;

// A head of a sequence and where its data are; `width` of a tensor is what lies between tokens.
struct Place {
  int p, b, h, group;
  std::int64_t head;  // in [P, B, H]

  __device__ Place(const RecurrenceArguments& a, std::int64_t index)
      : p(static_cast<int>(index / a.heads / a.batch)),
        b(static_cast<int>(index / a.heads % a.batch)),
        h(static_cast<int>(index % a.heads)),
        group(h / (a.heads / a.groups)),
        head(index) {}
  template <class T>
  __device__ auto row(const PerTrial<T>& t, const RecurrenceArguments& a, std::int64_t width, std::int64_t time) const {
    using F = std::conditional_t<std::is_const_v<T>, const float, float>;
    return static_cast<F*>(t.data) + p * t.stride + (static_cast<std::int64_t>(b) * a.length + time) * width;
  }
  __device__ float g(const RecurrenceArguments& a, std::int64_t time) const {
    return a.fixed_g ? a.g.data[h] : row(a.g, a, a.heads, time)[h];
  }
  __device__ float beta(const RecurrenceArguments& a, std::int64_t time) const {
    return a.beta.data == nullptr ? 1.0F : row(a.beta, a, a.heads, time)[h];
  }
  __device__ float skip(const RecurrenceArguments& a) const {
    return a.skip.data == nullptr ? 0.0F : a.skip.data[p * a.skip.stride + h];
  }
  // The kept state before token i * interval.
  __device__ float* checkpoint(const RecurrenceArguments& a, std::int64_t i) const {
    const std::int64_t count = (a.length + interval - 1) / interval;
    return a.checkpoints + (head * count + i) * a.key_dim * a.value_dim;
  }
};

__global__ __launch_bounds__(forward_threads) void forward_kernel(RecurrenceArguments a, bool delta) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int K = a.key_dim, V = a.value_dim;
  const int blocks = (V + forward_threads - 1) / forward_threads;
  const Place at(a, blockIdx.x / blocks);
  const int thread = static_cast<int>(threadIdx.x);
  const int v = static_cast<int>(blockIdx.x % blocks) * forward_threads + thread;
  float* state = reinterpret_cast<float*>(shared_memory) + thread;  // row k at k * forward_threads
  float* q = reinterpret_cast<float*>(shared_memory) + K * forward_threads;
  float* k = q + interval * K;
  const float skip = at.skip(a);
  for (int i = 0; i < K; ++i) state[i * forward_threads] = 0;
  for (int first = 0; first < a.length; first += interval) {
    const int tokens = min(interval, a.length - first);
    __syncthreads();
    for (int e = thread; e < tokens * K; e += forward_threads) {
      const float* row = at.row(a.qkv, a, a.width, first + e / K) + at.group * K + e % K;
      q[e] = row[a.q_at];
      k[e] = row[a.k_at];
    }
    __syncthreads();
    if (v >= V) continue;
    float* keep = at.checkpoint(a, first / interval) + v;
    for (int i = 0; i < K; ++i) keep[static_cast<std::int64_t>(i) * V] = state[i * forward_threads];
    for (int t = 0; t < tokens; ++t) {
      const float decay = expf(at.g(a, first + t));
      float seen = 0;  // S^T k
      for (int i = 0; i < K; ++i) {
        const float s = state[i * forward_threads] * decay;
        state[i * forward_threads] = s;
        seen = fmaf(s, k[t * K + i], seen);
      }
      const float value = at.row(a.qkv, a, a.width, first + t)[a.v_at + at.h * V + v];
      const float write = at.beta(a, first + t) * (delta ? value - seen : value);
      float sum = 0;
      for (int i = 0; i < K; ++i) {
        const float s = fmaf(k[t * K + i], write, state[i * forward_threads]);
        state[i * forward_threads] = s;
        sum = fmaf(s, q[t * K + i], sum);
      }
      at.row(a.out, a, static_cast<std::int64_t>(a.heads) * V, first + t)[at.h * V + v] =
          fmaf(a.scale, sum, skip * value);
    }
  }
}

// Shared memory of a backward block: S and dS [K, V], pitch V + 1, then what a token has of rows and columns.
struct BackwardShared {
  int K, V, pitch;
  float *state, *dstate, *q, *k, *dout, *write, *dseen, *buffer;

  __device__ BackwardShared(unsigned char* memory, int K_, int V_) : K(K_), V(V_), pitch(V_ + 1) {
    state = reinterpret_cast<float*>(memory);
    dstate = state + K * pitch;
    q = dstate + K * pitch;
    k = q + K;
    dout = k + K;
    write = dout + V;
    dseen = write + V;
    buffer = dseen + V;
  }
  static std::size_t bytes(int K, int V) {
    return sizeof(float) * (static_cast<std::size_t>(2) * K * (V + 1) + 2 * K + 3 * V + 32);
  }
};

// The states before every token of the interval, [tokens, K, V] in scratch.
__device__ void make_states(const RecurrenceArguments& a, const Place& at, const BackwardShared& s, float* states,
                            int first, int tokens, bool delta) {
  const std::int64_t size = static_cast<std::int64_t>(s.K) * s.V;
  const float* checkpoint = at.checkpoint(a, first / interval);
  for (int v = static_cast<int>(threadIdx.x); v < s.V; v += backward_threads) {
    for (int i = 0; i < s.K; ++i) states[static_cast<std::int64_t>(i) * s.V + v] = checkpoint[i * s.V + v];
    for (int t = 0; t + 1 < tokens; ++t) {
      const float* row = at.row(a.qkv, a, a.width, first + t);
      const float* k = row + a.k_at + at.group * s.K;
      const float decay = expf(at.g(a, first + t));
      const float* from = states + t * size + v;
      float* to = states + (t + 1) * size + v;
      float seen = 0;
      for (int i = 0; i < s.K; ++i) {
        const float x = from[i * s.V] * decay;
        to[i * s.V] = x;
        seen = fmaf(x, k[i], seen);
      }
      const float value = row[a.v_at + at.h * s.V + v];
      const float write = at.beta(a, first + t) * (delta ? value - seen : value);
      for (int i = 0; i < s.K; ++i) to[i * s.V] = fmaf(k[i], write, to[i * s.V]);
    }
  }
}

// One token back. `states` is the state before it, in memory; s.dstate is dS after it, then before it.
__device__ void token_back(const RecurrenceArguments& a, const Place& at, const BackwardShared& s, const float* states,
                           std::int64_t time, bool delta, float& dskip) {
  const int thread = static_cast<int>(threadIdx.x);
  const float* row = at.row(a.qkv, a, a.width, time);
  float* drow = at.row(a.dqkv, a, a.width, time);
  const float* dout = at.row(a.dout, a, static_cast<std::int64_t>(a.heads) * s.V, time) + at.h * s.V;
  const float decay = expf(at.g(a, time)), beta = at.beta(a, time), skip = at.skip(a);
  for (int i = thread; i < s.K; i += backward_threads) {
    s.q[i] = row[a.q_at + at.group * s.K + i];
    s.k[i] = row[a.k_at + at.group * s.K + i];
  }
  __syncthreads();
  float dbeta = 0;
  for (int v = thread; v < s.V; v += backward_threads) {
    const float d = dout[v], value = row[a.v_at + at.h * s.V + v];
    float seen = 0, dwrite = 0;
    for (int i = 0; i < s.K; ++i) {
      const int e = i * s.pitch + v;
      s.state[e] = states[static_cast<std::int64_t>(i) * s.V + v] * decay;
      s.dstate[e] = fmaf(a.scale * s.q[i], d, s.dstate[e]);
      seen = fmaf(s.state[e], s.k[i], seen);
      dwrite = fmaf(s.dstate[e], s.k[i], dwrite);
    }
    const float error = delta ? value - seen : value;
    s.dout[v] = d;
    s.write[v] = beta * error;
    s.dseen[v] = delta ? -beta * dwrite : 0.0F;
    drow[a.v_at + at.h * s.V + v] = fmaf(beta, dwrite, skip * d);
    dbeta = fmaf(dwrite, error, dbeta);
    dskip = fmaf(d, value, dskip);
  }
  __syncthreads();
  float dg = 0;
  const bool first_head = at.h % (a.heads / a.groups) == 0;
  for (int i = thread; i < s.K; i += backward_threads) {
    float dq = 0, dk = 0;
    for (int v = 0; v < s.V; ++v) {
      const int e = i * s.pitch + v;
      dq = fmaf(fmaf(s.k[i], s.write[v], s.state[e]), s.dout[v], dq);
      dk = fmaf(s.dstate[e], s.write[v], fmaf(s.state[e], s.dseen[v], dk));
      const float before = fmaf(s.k[i], s.dseen[v], s.dstate[e]);
      dg = fmaf(before, s.state[e], dg);
      s.dstate[e] = decay * before;
    }
    float* to = drow + at.group * s.K + i;
    to[a.q_at] = first_head ? a.scale * dq : fmaf(a.scale, dq, to[a.q_at]);
    to[a.k_at] = first_head ? dk : to[a.k_at] + dk;
  }
  if (a.dg.data != nullptr) {
    dg = block_sum(dg, s.buffer);
    if (thread == 0) at.row(a.dg, a, a.heads, time)[at.h] = dg;
    __syncthreads();
  }
  if (a.dbeta.data != nullptr) {
    dbeta = block_sum(dbeta, s.buffer);
    if (thread == 0) at.row(a.dbeta, a, a.heads, time)[at.h] = dbeta;
  }
  __syncthreads();
}

__global__ __launch_bounds__(backward_threads) void backward_kernel(RecurrenceArguments a, bool delta) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const BackwardShared s(shared_memory, a.key_dim, a.value_dim);
  const int shared_by = a.heads / a.groups;
  const std::int64_t size = static_cast<std::int64_t>(s.K) * s.V;
  float* states = a.interval + blockIdx.x * (interval * size);
  for (int i = 0; i < shared_by; ++i) {
    const Place at(a, static_cast<std::int64_t>(blockIdx.x) * shared_by + i);
    for (int e = static_cast<int>(threadIdx.x); e < s.K * s.pitch; e += backward_threads) s.dstate[e] = 0;
    float dskip = 0;
    for (int first = (a.length - 1) / interval * interval; first >= 0; first -= interval) {
      const int tokens = min(interval, a.length - first);
      make_states(a, at, s, states, first, tokens, delta);
      __syncthreads();
      for (int t = tokens - 1; t >= 0; --t) token_back(a, at, s, states + t * size, first + t, delta, dskip);
    }
    if (a.skip_parts == nullptr) continue;
    dskip = block_sum(dskip, s.buffer);
    if (threadIdx.x == 0) a.skip_parts[at.head] = dskip;
    __syncthreads();
  }
}

// One block a trial and head.
__global__ __launch_bounds__(128) void skip_sum_kernel(RecurrenceArguments a, int parts_per_head) {
  __shared__ float buffer[4];
  const auto p = static_cast<int>(blockIdx.x) / a.heads, h = static_cast<int>(blockIdx.x) % a.heads;
  float sum = 0;
  for (int e = static_cast<int>(threadIdx.x); e < a.batch * parts_per_head; e += 128) {
    const std::int64_t head = (static_cast<std::int64_t>(p) * a.batch + e / parts_per_head) * a.heads + h;
    sum += a.skip_parts[head * parts_per_head + e % parts_per_head];
  }
  sum = block_sum(sum, buffer);
  if (threadIdx.x == 0) a.dskip.data[p * a.dskip.stride + h] += sum;
}

}  // namespace

void recurrence_forward_fp32(Context& ctx, const RecurrenceArguments& a, bool delta) {
  const std::int64_t blocks = (a.value_dim + forward_threads - 1) / forward_threads;
  const std::size_t bytes =
      sizeof(float) * static_cast<std::size_t>(a.key_dim) * (forward_threads + 2 * recurrence_interval);
  launch(ctx, forward_kernel, dim3(static_cast<unsigned>(a.all_heads() * blocks)), dim3(forward_threads), bytes, a,
         delta);
}

void recurrence_backward_fp32(Context& ctx, const RecurrenceArguments& a, bool delta) {
  launch(ctx, backward_kernel, dim3(static_cast<unsigned>(a.sequences() * a.groups)), dim3(backward_threads),
         BackwardShared::bytes(a.key_dim, a.value_dim), a, delta);
}

void recurrence_skip_sum(Context& ctx, const RecurrenceArguments& a, int parts_per_head) {
  launch(ctx, skip_sum_kernel, dim3(static_cast<unsigned>(a.trials * a.heads)), dim3(128), 0, a, parts_per_head);
}

}  // namespace hylas::kernels::cuda
