// CUDA: qkv_rope (kernels/qkv_rope.hpp). A thread turns packets of N neighbouring pairs (i, i + hd/2) of one head;
// neighbouring threads lie in one row, so that cos and sin of its position are read once. Trials without rotation end
// at once.
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRepeat = 2;  // packets of pairs a thread

struct RopeLayout {
  std::int64_t stride;       // elements to the next trial
  unsigned width;            // elements of a row
  unsigned packets;          // of a trial's query and key heads
  Divisor length;            // T
  Divisor packets_per_head;  // hd / 2 / N
  Divisor packets_per_row;   // of the query and key heads
};

// sign -1: the transposed rotation.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    rotate_kernel(const float* __restrict__ cos, const float* __restrict__ sin, const std::int32_t* __restrict__ on,
                  T* __restrict__ qkv, RopeLayout layout, float sign) {
  if (on[blockIdx.y] == 0) return;
  const unsigned half = layout.packets_per_head.divisor() * N;
  qkv += blockIdx.y * layout.stride;
  const unsigned first = blockIdx.x * (kThreads * kRepeat) + threadIdx.x;
  T* low[kRepeat];
  Packed<T, N> lows[kRepeat], highs[kRepeat];
  float c[kRepeat][N], s[kRepeat][N];
#pragma unroll
  for (int k = 0; k < kRepeat; ++k) {
    const unsigned i = first + k * kThreads;
    if (i >= layout.packets) break;
    const unsigned row = layout.packets_per_row.quotient(i), packet = i - row * layout.packets_per_row.divisor();
    const unsigned head = layout.packets_per_head.quotient(packet);
    const unsigned at = (packet - head * layout.packets_per_head.divisor()) * N;
    const unsigned position = row - layout.length.quotient(row) * layout.length.divisor();
    const std::int64_t angle = static_cast<std::int64_t>(position) * half + at;
    low[k] = qkv + static_cast<std::int64_t>(row) * layout.width + head * 2 * half + at;
    lows[k] = load<T, N>(low[k]);
    highs[k] = load<T, N>(low[k] + half);
    load_floats<float, N>(cos + angle, c[k]);
    load_floats<float, N>(sin + angle, s[k]);
  }
#pragma unroll
  for (int k = 0; k < kRepeat; ++k) {
    if (first + k * kThreads >= layout.packets) break;
    float a[N], b[N], x[N], y[N];
    unpack<T, N>(lows[k], a);
    unpack<T, N>(highs[k], b);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float sine = s[k][j] * sign;
      x[j] = a[j] * c[k][j] - b[j] * sine;
      y[j] = b[j] * c[k][j] + a[j] * sine;
    }
    store<T, N>(low[k], pack<T, N>(x));
    store<T, N>(low[k] + half, pack<T, N>(y));
  }
}

template <class T, int N>
void rotate(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& qkv, float sign) {
  const std::int64_t per_head = heads.dim / 2 / N, per_row = (heads.query + heads.kv) * per_head;
  const std::int64_t packets = qkv.trial_rows() * per_row;
  if (packets == 0) return;
  if (packets >= std::int64_t{1} << 31) throw std::invalid_argument("qkv_rope: 2^31 pairs a trial are the limit");
  const RopeLayout layout{qkv.trial_stride(),
                          static_cast<unsigned>(qkv.dim(3)),
                          static_cast<unsigned>(packets),
                          Divisor(qkv.dim(2)),
                          Divisor(per_head),
                          Divisor(per_row)};
  launch(ctx, rotate_kernel<T, N>, dim3(blocks_for(packets, kThreads * kRepeat), static_cast<unsigned>(qkv.trials())),
         dim3(kThreads), 0, data_of<float>(rope.cos), data_of<float>(rope.sin), data_of<std::int32_t>(rope.on),
         data_of<T>(qkv), layout, sign);
}

void check_and_rotate(Context& ctx, const char* op, const Heads& heads, const Rope& rope, const Tensor& qkv,
                      float sign) {
  if (!rope.on.defined() && !rope.cos.defined() && !rope.sin.defined()) return;
  const Checks check(op);
  check.floating("qkv", qkv);
  check.require(heads.dim >= 2 && heads.dim % 2 == 0 && heads.query >= 1 && heads.kv >= 1 && qkv.rank() == 4 &&
                    qkv.dim(3) == (heads.query + 2 * heads.kv) * heads.dim,
                "qkv should be [P, B, T, (H + 2 Hkv) * hd] with an even hd, is " + cpu::describe(qkv));
  const std::int64_t half = heads.dim / 2;
  check.sized("on", rope.on, DType::i32, qkv.trials(), 1);
  check.sized("cos", rope.cos, DType::f32, 1, qkv.dim(2) * half)
      .sized("sin", rope.sin, DType::f32, 1, qkv.dim(2) * half);
  const bool vector =
      half % (16 / size_of(qkv.dtype())) == 0 && aligned(qkv, 16) && aligned(rope.cos, 16) && aligned(rope.sin, 16);
  if (qkv.dtype() == DType::f32) {
    vector ? rotate<float, kLanes<float>>(ctx, heads, rope, qkv, sign) : rotate<float, 1>(ctx, heads, rope, qkv, sign);
  } else {
    vector ? rotate<bf16, kLanes<bf16>>(ctx, heads, rope, qkv, sign) : rotate<bf16, 1>(ctx, heads, rope, qkv, sign);
  }
}

}  // namespace

void qkv_rope_forward(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& qkv) {
  check_and_rotate(ctx, "qkv_rope_forward", heads, rope, qkv, 1);
}

void qkv_rope_backward(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& dqkv) {
  check_and_rotate(ctx, "qkv_rope_backward", heads, rope, dqkv, -1);
}

}  // namespace hylas::kernels::cuda
