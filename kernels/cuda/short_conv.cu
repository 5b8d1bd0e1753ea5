// CUDA: short_conv (kernels/short_conv.hpp). A thread takes V packets of N channels of one head through a run of times
// and keeps the last three rows of the projection in registers, so that every row is read once a run (and three times
// more at its edge). A head's threads are neighbours in one warp: the L2 norm is a sum over lanes.
//
// A warp takes 32 neighbouring threads' channels of one run; the four warps of a block take the same channels of four
// runs, and sum their parts of dweight and dbias in order. The blocks' parts, a fixed number for a shape, are added in
// order by add_chunks. backward goes from late to early: three rows of da, the gradient of silu's argument, are kept.
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/linear.hpp"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * 32;
constexpr int kTaps = static_cast<int>(kConvWidth);
constexpr float kNormEps = 1e-6F;

struct SegmentPlace {
  int first_thread, threads;  // of a row; the first a multiple of lanes
  int lanes;                  // threads of a head; a power of two up to 32 where it is normalised
  int at, stride, channel, dim;
  int normalised;
};

struct ConvPlan {
  SegmentPlace segments[3];
  std::int64_t proj_stride, weight_stride, bias_stride, out_stride, dproj_stride, partial_stride;  // between trials
  int width, channels, length;                                                                     // W, C, T
  int steps;                                                                                       // times of a run
  int runs_per_sequence, runs;                                                                     // of a trial
  int column_warps;  // warps that hold a row's threads
  int sum_lanes;     // the most threads of a normalised head; 0: none is
};

// What a thread works on. Element m of its channels lies offset(m) after the first one.
template <int N, int V>
struct ConvThread {
  int packets;  // how many of the V exist
  int column, channel, lanes, normalised;
  std::int64_t row;  // of the run's first time; its sequence's first row is row - begin
  int begin, end;    // times

  [[nodiscard]] __device__ __forceinline__ int offset(int m) const { return m / N * lanes * N + m % N; }
};

template <int N, int V>
__device__ __forceinline__ ConvThread<N, V> conv_thread(const ConvPlan& plan) {
  ConvThread<N, V> t{};
  const int column_warp = static_cast<int>(blockIdx.x) % plan.column_warps;
  const int run = static_cast<int>(blockIdx.x) / plan.column_warps * kWarps + static_cast<int>(threadIdx.x) / 32;
  const int sequence = run / plan.runs_per_sequence;
  t.begin = (run - sequence * plan.runs_per_sequence) * plan.steps;
  t.end = run < plan.runs ? min(t.begin + plan.steps, plan.length) : t.begin;
  t.row = static_cast<std::int64_t>(sequence) * plan.length + t.begin;
  t.lanes = 1;
  const int thread = column_warp * 32 + static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int s = 0; s < 3; ++s) {
    const SegmentPlace& segment = plan.segments[s];
    const int local = thread - segment.first_thread;
    if (local < 0 || local >= segment.threads) continue;
    const int head = local / segment.lanes, lane = local - head * segment.lanes;
    t.lanes = segment.lanes;
    t.normalised = segment.normalised;
    t.column = segment.at + head * segment.stride + lane * N;
    t.channel = segment.channel + head * segment.dim + lane * N;
    while (t.packets < V && (t.packets * segment.lanes + lane) * N < segment.dim) ++t.packets;
  }
  return t;
}

template <class T, int N, int V>
struct ConvRow {  // a thread's channels of one row, as they lie in memory
  Packed<T, N> packets[V];

  __device__ __forceinline__ void read(const T* p, const ConvThread<N, V>& t, bool here) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      packets[v] = here && v < t.packets ? load<T, N>(p + v * t.lanes * N) : zeros<T, N>();
    }
  }
  __device__ __forceinline__ void floats(float (&x)[N * V]) const {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      float part[N];
      unpack<T, N>(packets[v], part);
#pragma unroll
      for (int i = 0; i < N; ++i) x[v * N + i] = part[i];
    }
  }
};

template <class T, int N, int V>
__device__ __forceinline__ void write_row(T* p, const ConvThread<N, V>& t, const float (&x)[N * V]) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    float part[N];
#pragma unroll
    for (int i = 0; i < N; ++i) part[i] = x[v * N + i];
    if (v < t.packets) store<T, N>(p + v * t.lanes * N, pack<T, N>(part));
  }
}

// The sum over a head's threads. Heads of other segments may share the warp: all lanes go through as many steps as the
// longest group takes, and each adds what is its own's.
__device__ __forceinline__ float head_sum(float x, int lanes, int sum_lanes) {
  for (int offset = sum_lanes / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, offset);
    x += offset < lanes ? other : 0.0F;
  }
  return x;
}

// Lanes of the widest head that is normalised, or 0 where none of this warp's is.
template <int N, int V>
__device__ __forceinline__ int sum_lanes_of(const ConvPlan& plan, const ConvThread<N, V>& t) {
  return __any_sync(kAllLanes, t.normalised != 0) != 0 ? plan.sum_lanes : 0;
}

template <class T, int N, int V, bool taps>
struct ConvWeights {
  static constexpr int M = N * V;
  float w[taps ? M : 1][kTaps], bias[taps ? M : 1];

  __device__ __forceinline__ void read(const T* weight, const float* from, const ConvThread<N, V>& t) {
    if constexpr (taps) {
#pragma unroll
      for (int m = 0; m < M; ++m) {
        const bool here = m / N < t.packets;
        const std::int64_t channel = t.channel + t.offset(m);
        bias[m] = here && from != nullptr ? from[channel] : 0.0F;
#pragma unroll
        for (int j = 0; j < kTaps; ++j) w[m][j] = 0;
        if (!here) continue;
        if constexpr (N == 1) {
#pragma unroll
          for (int j = 0; j < kTaps; ++j) load_one(weight + channel * kTaps + j, w[m][j]);
        } else {
          load_floats<T, kTaps>(weight + channel * kTaps, w[m]);
        }
      }
    }
  }
  __device__ __forceinline__ static void load_one(const T* p, float& x) {
    float one[1];
    load_floats<T, 1>(p, one);
    x = one[0];
  }
};

template <class T>
__device__ __forceinline__ float sigmoid_of(float a) {
  return reciprocal<T>(1.0F + exponential<T>(-a));
}

template <class T, int N, int V, bool taps>
__global__ void __launch_bounds__(kThreads)
    short_conv_forward_kernel(const T* __restrict__ proj, const T* __restrict__ weight, const float* __restrict__ bias,
                              T* __restrict__ out, ConvPlan plan) {
  constexpr int M = N * V, U = M > 4 ? 2 : 4, past = taps ? kTaps - 1 : 0;
  const std::int64_t p = blockIdx.y;
  const auto t = conv_thread<N, V>(plan);
  ConvWeights<T, N, V, taps> weights;
  weights.read(weight + p * plan.weight_stride, bias == nullptr ? nullptr : bias + p * plan.bias_stride, t);
  proj += p * plan.proj_stride + t.row * plan.width + t.column;
  out += p * plan.out_stride + t.row * plan.channels + t.channel;
  const int sum_lanes = sum_lanes_of(plan, t);
  float x[U + past][M];
#pragma unroll
  for (int i = 0; i < past; ++i) {
    ConvRow<T, N, V> row;
    row.read(proj + static_cast<std::int64_t>(i - past) * plan.width, t, t.begin + i >= past && t.begin < t.end);
    row.floats(x[i]);
  }
  for (int time = t.begin; time < t.end; time += U) {
    ConvRow<T, N, V> rows[U];
#pragma unroll
    for (int u = 0; u < U; ++u) rows[u].read(proj + static_cast<std::int64_t>(u) * plan.width, t, time + u < t.end);
    float y[U][M], squares[U];
#pragma unroll
    for (int u = 0; u < U; ++u) {
      rows[u].floats(x[past + u]);
      squares[u] = 0;
#pragma unroll
      for (int m = 0; m < M; ++m) {
        float a = x[past + u][m];
        if constexpr (taps) {
          a = weights.bias[m];
#pragma unroll
          for (int j = 0; j < kTaps; ++j) a += weights.w[m][j] * x[u + j][m];
        }
        y[u][m] = a * sigmoid_of<T>(a);
        squares[u] += y[u][m] * y[u][m];
      }
    }
    if (sum_lanes > 0) {
#pragma unroll
      for (int u = 0; u < U; ++u) {
        const float sum = head_sum(squares[u], t.lanes, sum_lanes);
        const float inv = t.normalised != 0 ? 1.0F / sqrtf(sum + kNormEps) : 1.0F;
#pragma unroll
        for (int m = 0; m < M; ++m) y[u][m] *= inv;
      }
    }
#pragma unroll
    for (int u = 0; u < U; ++u) {
      if (time + u < t.end) write_row<T, N, V>(out + static_cast<std::int64_t>(u) * plan.channels, t, y[u]);
    }
#pragma unroll
    for (int i = 0; i < past; ++i) {
#pragma unroll
      for (int m = 0; m < M; ++m) x[i][m] = x[U + i][m];
    }
    proj += static_cast<std::int64_t>(U) * plan.width;
    out += static_cast<std::int64_t>(U) * plan.channels;
  }
}

// The block's parts of dweight and dbias: its warps' in order. partial: [C, 4], then [C].
template <int N, int V>
__device__ void write_partial(const float (&dw)[N * V][kTaps + 1], const ConvThread<N, V>& t, int channels,
                              float* __restrict__ partial) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  constexpr int values = N * V * (kTaps + 1);
  float* parts = reinterpret_cast<float*>(shared_memory);  // [warps, values, 32]
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < values; ++i) parts[(warp * values + i) * 32 + lane] = dw[i / (kTaps + 1)][i % (kTaps + 1)];
  __syncthreads();
  for (int i = warp; i < values; i += kWarps) {
    const int m = i / (kTaps + 1), j = i % (kTaps + 1);
    if (m / N >= t.packets) continue;
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += parts[(w * values + i) * 32 + lane];
    const std::int64_t channel = t.channel + t.offset(m);
    partial[j < kTaps ? channel * kTaps + j : static_cast<std::int64_t>(channels) * kTaps + channel] = sum;
  }
}

template <class T, int N, int V, bool taps>
__global__ void __launch_bounds__(kThreads, N* V > 4 ? 2 : 4)
    short_conv_backward_kernel(const T* __restrict__ proj, const T* __restrict__ weight, const float* __restrict__ bias,
                               const T* __restrict__ dout, T* __restrict__ dproj, float* __restrict__ partial,
                               ConvPlan plan) {
  constexpr int M = N * V, U = 2, past = taps ? kTaps - 1 : 0;
  const std::int64_t p = blockIdx.y;
  const auto t = conv_thread<N, V>(plan);
  ConvWeights<T, N, V, taps> weights;
  weights.read(weight + p * plan.weight_stride, bias == nullptr ? nullptr : bias + p * plan.bias_stride, t);
  // Pointers to the thread's channels at time 0 of the sequence.
  const std::int64_t first = t.row - t.begin;
  proj += p * plan.proj_stride + first * plan.width + t.column;
  dproj += p * plan.dproj_stride + first * plan.width + t.column;
  dout += p * plan.out_stride + first * plan.channels + t.channel;
  // The da of up to three times after the run reach into it.
  const int last = t.begin < t.end ? min(t.end + past, plan.length) - 1 : t.begin - 1;
  const int sum_lanes = sum_lanes_of(plan, t);
  float x[U + past][M], da[U + past][M], dw[taps ? M : 1][kTaps + 1];  // x[i]: time - i; da[i]: time + past - i
#pragma unroll
  for (int i = 0; i < past; ++i) {
    ConvRow<T, N, V> row;
    row.read(proj + static_cast<std::int64_t>(last - i) * plan.width, t, last - i >= 0 && last >= t.begin);
    row.floats(x[i]);
#pragma unroll
    for (int m = 0; m < M; ++m) da[i][m] = 0;
  }
  if constexpr (taps) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int j = 0; j <= kTaps; ++j) dw[m][j] = 0;
    }
  }
  // The next U times are on their way while these are computed.
  ConvRow<T, N, V> next_rows[U], next_grads[U];
  const auto fetch = [&](int time) {
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const std::int64_t from = time - u - past;
      next_rows[u].read(proj + from * plan.width, t, from >= 0);
      next_grads[u].read(dout + static_cast<std::int64_t>(time - u) * plan.channels, t, time - u >= t.begin);
    }
  };
  if (last >= t.begin) fetch(last);
  for (int time = last; time >= t.begin; time -= U) {
    ConvRow<T, N, V> rows[U], grads[U];
#pragma unroll
    for (int u = 0; u < U; ++u) rows[u] = next_rows[u], grads[u] = next_grads[u];
    if (time - U >= t.begin) fetch(time - U);
#pragma unroll
    for (int u = 0; u < U; ++u) {
      float y[M], slope[M], squares = 0, products = 0;
      rows[u].floats(x[past + u]);
      grads[u].floats(da[past + u]);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        float a = x[u][m];
        if constexpr (taps) {
          a = weights.bias[m];
#pragma unroll
          for (int j = 0; j < kTaps; ++j) a += weights.w[m][j] * x[u + past - j][m];
        }
        const float sigmoid = sigmoid_of<T>(a);
        y[m] = a * sigmoid;
        slope[m] = sigmoid + y[m] * (1.0F - sigmoid);
        squares += y[m] * y[m];
        products += y[m] * da[past + u][m];
      }
      float inv = 1, along = 0;  // of dout, along the head's vector
      if (sum_lanes > 0) {
        squares = head_sum(squares, t.lanes, sum_lanes);
        products = head_sum(products, t.lanes, sum_lanes);
        if (t.normalised != 0) {
          inv = 1.0F / sqrtf(squares + kNormEps);
          along = products * inv * inv;
        }
      }
#pragma unroll
      for (int m = 0; m < M; ++m) da[past + u][m] = (da[past + u][m] - y[m] * along) * inv * slope[m];
    }
#pragma unroll
    for (int u = 0; u < U; ++u) {
      if (time - u < t.begin || time - u >= t.end) continue;
      float dx[M];
#pragma unroll
      for (int m = 0; m < M; ++m) {
        dx[m] = da[past + u][m];
        if constexpr (taps) {
          dx[m] = 0;
#pragma unroll
          for (int j = 0; j < kTaps; ++j) {
            dx[m] += weights.w[m][j] * da[u + j][m];
            dw[m][j] += da[past + u][m] * x[u + past - j][m];
          }
          dw[m][kTaps] += da[past + u][m];
        }
      }
      write_row<T, N, V>(dproj + static_cast<std::int64_t>(time - u) * plan.width, t, dx);
    }
#pragma unroll
    for (int i = 0; i < past; ++i) {
#pragma unroll
      for (int m = 0; m < M; ++m) {
        x[i][m] = x[U + i][m];
        da[i][m] = da[U + i][m];
      }
    }
  }
  if constexpr (taps) {
    const std::int64_t chunk = static_cast<int>(blockIdx.x) / plan.column_warps;
    write_partial<N, V>(dw, t, plan.channels, partial + p * plan.partial_stride + chunk * (kTaps + 1) * plan.channels);
  }
}

// How many neighbouring channels of every head lie on one packet boundary; `most` elements are asked for.
int packet_of(const ShortConv& conv, std::int64_t width, int most, std::int64_t size,
              std::initializer_list<const Tensor*> tensors) {
  int n = most;
  const auto fits = [&] {
    bool good = width % n == 0 && conv.channels() % n == 0;
    for (const ConvSegment& s : conv.segments) {
      if (s.heads > 0) good = good && s.at % n == 0 && s.dim % n == 0 && (s.heads == 1 || s.stride % n == 0);
    }
    for (const Tensor* t : tensors) good = good && aligned(*t, n * size);
    return good;
  };
  while (n > 4 && !fits()) n /= 2;
  return fits() ? n : 1;
}

// Packets a thread: one, two where a normalised head would not fit into a warp, four of single elements.
int packets_of(const ShortConv& conv, int n) {
  std::int64_t widest = 0;
  for (const ConvSegment& s : conv.segments) widest = s.heads > 0 && s.normalised ? std::max(widest, s.dim) : widest;
  return n == 1 ? 4 : n == 4 && widest > 32 * n ? 2 : 1;
}

ConvPlan plan_of(const Checks& check, const ShortConv& conv, const Tensor& proj, const Tensor& out, int n,
                 int packets) {
  ConvPlan plan{};
  int threads = 0, channel = 0;
  for (std::size_t i = 0; i < conv.segments.size(); ++i) {
    const ConvSegment& s = conv.segments[i];
    if (s.heads == 0) continue;
    SegmentPlace& place = plan.segments[i];
    place.lanes = static_cast<int>((s.dim + n * packets - 1) / (n * packets));
    if (s.normalised) {
      check.require(place.lanes <= 32, "a normalised head is limited to " + std::to_string(32 * n * packets) +
                                           " elements where columns are aligned to " + std::to_string(n) + ", has " +
                                           std::to_string(s.dim));
      int lanes = 1;
      while (lanes < place.lanes) lanes *= 2;
      place.lanes = lanes;
      plan.sum_lanes = std::max(plan.sum_lanes, lanes);
      threads = (threads + lanes - 1) / lanes * lanes;
    }
    place.first_thread = threads;
    place.threads = static_cast<int>(s.heads) * place.lanes;
    place.at = static_cast<int>(s.at);
    place.stride = static_cast<int>(s.stride);
    place.channel = channel;
    place.dim = static_cast<int>(s.dim);
    place.normalised = s.normalised ? 1 : 0;
    threads += place.threads;
    channel += static_cast<int>(s.heads * s.dim);
  }
  plan.proj_stride = proj.trial_stride();
  plan.out_stride = out.trial_stride();
  plan.width = static_cast<int>(proj.dim(3));
  plan.channels = channel;
  plan.length = static_cast<int>(proj.dim(2));
  plan.column_warps = (threads + 31) / 32;
  // Long runs read fewer rows twice; short ones keep the machine busy.
  plan.steps = 32;
  while (plan.steps > 8 && proj.dim(1) * ((plan.length + plan.steps - 1) / plan.steps) * plan.column_warps < 2048) {
    plan.steps /= 2;
  }
  plan.runs_per_sequence = (plan.length + plan.steps - 1) / plan.steps;
  plan.runs = static_cast<int>(proj.dim(1)) * plan.runs_per_sequence;
  return plan;
}

std::int64_t run_blocks(const ConvPlan& plan) {
  return (plan.runs + kWarps - 1) / kWarps;
}

dim3 grid_of(const ConvPlan& plan, const Tensor& proj) {
  return {static_cast<unsigned>(run_blocks(plan) * plan.column_warps), static_cast<unsigned>(proj.trials())};
}

void check_conv(const Checks& check, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                const Tensor& bias, const Tensor& out) {
  check.floating("proj", proj);
  check.require(proj.rank() == 4, "proj should be [P, B, T, W], is " + cpu::describe(proj));
  constexpr std::int64_t most = std::int64_t{1} << 31;
  check.require(proj.trial_rows() < most / 8 && proj.dim(3) < most / 8,
                "proj has too many rows or columns, is " + cpu::describe(proj));
  for (const ConvSegment& s : conv.segments) {
    if (s.heads == 0) continue;
    check.require(s.heads > 0 && s.dim > 0 && s.at >= 0 && s.stride >= 0 &&
                      s.at + (s.heads - 1) * s.stride + s.dim <= proj.dim(3),
                  "a segment of " + std::to_string(s.heads) + " heads of " + std::to_string(s.dim) + " from column " +
                      std::to_string(s.at) + " on, " + std::to_string(s.stride) + " apart, leaves proj " +
                      cpu::describe(proj));
  }
  check.rows("out", out, proj.dtype(), proj.trials(), proj.trial_rows(), conv.channels());
  check.require(weight.defined() || !bias.defined(), "a bias needs a weight");
  if (weight.defined()) check.sized("weight", weight, proj.dtype(), proj.trials(), conv.channels() * kConvWidth);
  if (bias.defined()) check.sized("bias", bias, DType::f32, proj.trials(), conv.channels());
}

// Calls f(T, N, V, taps as constants).
template <int N, int V, class F>
void by_dtype_and_taps(DType dtype, bool taps, F&& f) {
  if (dtype == DType::f32) {
    if constexpr (N <= kLanes<float>) {
      taps ? f.template operator()<float, N, V, true>() : f.template operator()<float, N, V, false>();
    }
  } else {
    taps ? f.template operator()<bf16, N, V, true>() : f.template operator()<bf16, N, V, false>();
  }
}

}  // namespace

void short_conv_forward(Context& ctx, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                        const Tensor& bias, const Tensor& out) {
  const Checks check("short_conv_forward");
  check_conv(check, conv, proj, weight, bias, out);
  if (conv.channels() == 0 || proj.trial_size() == 0) return;
  const std::int64_t size = size_of(proj.dtype());
  // A channel's four taps are read at once.
  const bool taps_aligned = aligned(weight, kTaps * size);
  const int n = taps_aligned ? packet_of(conv, proj.dim(3), static_cast<int>(16 / size), size, {&proj, &out}) : 1;
  const int packets = packets_of(conv, n);
  ConvPlan plan = plan_of(check, conv, proj, out, n, packets);
  plan.weight_stride = weight.trial_stride();
  plan.bias_stride = bias.trial_stride();
  const auto run = [&]<class T, int N, int V, bool taps>() {
    launch(ctx, short_conv_forward_kernel<T, N, V, taps>, grid_of(plan, proj), dim3(kThreads), 0, data_of<T>(proj),
           data_of<T>(weight), data_of<float>(bias), data_of<T>(out), plan);
  };
  const bool taps = weight.defined();
  if (n == 8) by_dtype_and_taps<8, 1>(proj.dtype(), taps, run);
  if (n == 4 && packets == 1) by_dtype_and_taps<4, 1>(proj.dtype(), taps, run);
  if (n == 4 && packets == 2) by_dtype_and_taps<4, 2>(proj.dtype(), taps, run);
  if (n == 1) by_dtype_and_taps<1, 4>(proj.dtype(), taps, run);
}

void short_conv_backward(Context& ctx, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                         const Tensor& bias, const Tensor& dout, const Tensor& dproj, const Tensor& dweight,
                         const Tensor& dbias) {
  const Checks check("short_conv_backward");
  check_conv(check, conv, proj, weight, bias, dout);
  check.rows("dproj", dproj, proj.dtype(), proj.trials(), proj.trial_rows(), proj.dim(3));
  if (weight.defined()) check.sized("dweight", dweight, DType::f32, proj.trials(), conv.channels() * kConvWidth);
  if (bias.defined()) check.sized("dbias", dbias, DType::f32, proj.trials(), conv.channels());
  if (conv.channels() == 0 || proj.trial_size() == 0) return;
  const std::int64_t size = size_of(proj.dtype());
  // Four channels a packet: with eight, what a thread keeps would not fit into its registers.
  const bool taps_aligned = aligned(weight, kTaps * size);
  const int n = taps_aligned ? packet_of(conv, proj.dim(3), 4, size, {&proj, &dout, &dproj}) : 1;
  const int packets = packets_of(conv, n);
  ConvPlan plan = plan_of(check, conv, proj, dout, n, packets);
  plan.weight_stride = weight.trial_stride();
  plan.bias_stride = bias.trial_stride();
  plan.dproj_stride = dproj.trial_stride();
  const bool taps = weight.defined();
  const ArenaScope scope(ctx.arena);
  const std::int64_t parameters = (kTaps + 1) * conv.channels();
  Tensor partial;
  if (taps) partial = ctx.arena.tensor(DType::f32, {proj.trials(), run_blocks(plan), parameters});
  plan.partial_stride = partial.trial_stride();
  const auto run = [&]<class T, int N, int V, bool with_taps>() {
    const std::size_t shared = with_taps ? kThreads * N * V * (kTaps + 1) * sizeof(float) : 0;
    launch(ctx, short_conv_backward_kernel<T, N, V, with_taps>, grid_of(plan, proj), dim3(kThreads), shared,
           data_of<T>(proj), data_of<T>(weight), data_of<float>(bias), data_of<T>(dout), data_of<T>(dproj),
           data_of<float>(partial), plan);
  };
  if (n == 4 && packets == 1) by_dtype_and_taps<4, 1>(proj.dtype(), taps, run);
  if (n == 4 && packets == 2) by_dtype_and_taps<4, 2>(proj.dtype(), taps, run);
  if (n == 1) by_dtype_and_taps<1, 4>(proj.dtype(), taps, run);
  if (!taps) return;
  add_chunks(ctx, partial, run_blocks(plan), parameters, 0, dweight);
  if (bias.defined()) add_chunks(ctx, partial, run_blocks(plan), parameters, kTaps * conv.channels(), dbias);
}

}  // namespace hylas::kernels::cuda
