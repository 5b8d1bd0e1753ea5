// CUDA: swiglu (kernels/swiglu.hpp). One packet of gate and one of up a thread, kRepeat times.
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRepeat = 2;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 31;  // of out, a trial

// Where packet i of a trial lies: in gate_up (of rows of 2 f) and in out (of rows of f).
struct GateLayout {
  unsigned packets;  // of one trial: rows * f / N
  Divisor per_row;   // f / N
  std::int64_t gate_stride, out_stride, grad_stride, act_stride;
};

// The packet of gate_up that holds the gate of packet i; up lies a row of packets further.
__device__ __forceinline__ std::int64_t gate_packet(const GateLayout& layout, unsigned i) {
  return static_cast<std::int64_t>(layout.per_row.quotient(i)) * layout.per_row.divisor() + i;
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    swiglu_forward_kernel(const T* __restrict__ gate_up, T* __restrict__ out, GateLayout layout) {
  gate_up += blockIdx.y * layout.gate_stride;
  out += blockIdx.y * layout.out_stride;
  const unsigned first = blockIdx.x * (kThreads * kRepeat) + threadIdx.x;
  Packed<T, N> gates[kRepeat], ups[kRepeat];
#pragma unroll
  for (int k = 0; k < kRepeat; ++k) {
    const unsigned i = first + k * kThreads;
    if (i >= layout.packets) break;
    const T* gate = gate_up + gate_packet(layout, i) * N;
    gates[k] = load<T, N>(gate);
    ups[k] = load<T, N>(gate + layout.per_row.divisor() * N);
  }
#pragma unroll
  for (int k = 0; k < kRepeat; ++k) {
    const unsigned i = first + k * kThreads;
    if (i >= layout.packets) break;
    float g[N], u[N], y[N];
    unpack<T, N>(gates[k], g);
    unpack<T, N>(ups[k], u);
#pragma unroll
    for (int j = 0; j < N; ++j) y[j] = g[j] * reciprocal<T>(1.0F + exponential<T>(-g[j])) * u[j];
    store<T, N>(out + static_cast<std::int64_t>(i) * N, pack<T, N>(y));
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    swiglu_backward_kernel(const T* __restrict__ dout, const T* __restrict__ gate_up, T* __restrict__ dgate_up,
                           T* __restrict__ act, GateLayout layout) {
  dout += blockIdx.y * layout.out_stride;
  gate_up += blockIdx.y * layout.gate_stride;
  dgate_up += blockIdx.y * layout.grad_stride;
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= layout.packets) return;
  const std::int64_t at = gate_packet(layout, i) * N, out_at = static_cast<std::int64_t>(i) * N;
  const unsigned to_up = layout.per_row.divisor() * N;
  const auto gate = load<T, N>(gate_up + at), up = load<T, N>(gate_up + at + to_up), grad = load<T, N>(dout + out_at);
  float g[N], u[N], d[N], dgate[N], dup[N], y[N];
  unpack<T, N>(gate, g);
  unpack<T, N>(up, u);
  unpack<T, N>(grad, d);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float sigmoid = reciprocal<T>(1.0F + exponential<T>(-g[j]));
    const float silu = g[j] * sigmoid;
    dup[j] = d[j] * silu;
    dgate[j] = d[j] * u[j] * (sigmoid + silu * (1.0F - sigmoid));
    y[j] = silu * u[j];
  }
  store<T, N>(dgate_up + at, pack<T, N>(dgate));
  store<T, N>(dgate_up + at + to_up, pack<T, N>(dup));
  if (act != nullptr) store<T, N>(act + blockIdx.y * layout.act_stride + out_at, pack<T, N>(y));
}

template <class T, int N>
GateLayout layout_of(const Tensor& gate_up, const Tensor& out) {
  return {static_cast<unsigned>(out.trial_size() / N),
          Divisor(out.dim(-1) / N),
          gate_up.trial_stride(),
          out.trial_stride(),
          0,
          0};
}

template <class T, int N>
void forward(Context& ctx, const Tensor& gate_up, const Tensor& out) {
  const GateLayout layout = layout_of<T, N>(gate_up, out);
  launch(ctx, swiglu_forward_kernel<T, N>,
         dim3(blocks_for(layout.packets, kThreads * kRepeat), static_cast<unsigned>(out.trials())), dim3(kThreads), 0,
         data_of<T>(gate_up), data_of<T>(out), layout);
}

template <class T, int N>
void backward(Context& ctx, const Tensor& dout, const Tensor& gate_up, const Tensor& dgate_up, const Tensor& act) {
  GateLayout layout = layout_of<T, N>(gate_up, dout);
  layout.grad_stride = dgate_up.trial_stride();
  layout.act_stride = act.defined() ? act.trial_stride() : 0;
  launch(ctx, swiglu_backward_kernel<T, N>,
         dim3(blocks_for(layout.packets, kThreads), static_cast<unsigned>(dout.trials())), dim3(kThreads), 0,
         data_of<T>(dout), data_of<T>(gate_up), data_of<T>(dgate_up), data_of<T>(act), layout);
}

}  // namespace

void swiglu_forward(Context& ctx, const Tensor& gate_up, const Tensor& out) {
  const Checks check("swiglu_forward");
  check.floating("out", out);
  const std::int64_t f = out.dim(-1);
  check.rows("gate_up", gate_up, out.dtype(), out.trials(), out.trial_rows(), 2 * f);
  if (f == 0) return;
  check.require(out.trial_size() < kMaxElements, "2^31 elements a trial are the limit, out is " + cpu::describe(out));
  const bool vector = f % (16 / size_of(out.dtype())) == 0 && aligned(gate_up, 16) && aligned(out, 16);
  if (out.dtype() == DType::f32) {
    vector ? forward<float, kLanes<float>>(ctx, gate_up, out) : forward<float, 1>(ctx, gate_up, out);
  } else {
    vector ? forward<bf16, kLanes<bf16>>(ctx, gate_up, out) : forward<bf16, 1>(ctx, gate_up, out);
  }
}

void swiglu_backward(Context& ctx, const Tensor& dout, const Tensor& gate_up, const Tensor& dgate_up,
                     const Tensor& act) {
  const Checks check("swiglu_backward");
  check.floating("dout", dout);
  const std::int64_t f = dout.dim(-1), rows = dout.trial_rows();
  check.rows("gate_up", gate_up, dout.dtype(), dout.trials(), rows, 2 * f);
  check.rows("dgate_up", dgate_up, dout.dtype(), dout.trials(), rows, 2 * f);
  if (act.defined()) check.rows("act", act, dout.dtype(), dout.trials(), rows, f);
  if (f == 0) return;
  check.require(dout.trial_size() < kMaxElements,
                "2^31 elements a trial are the limit, dout is " + cpu::describe(dout));
  const bool vector = f % (16 / size_of(dout.dtype())) == 0 && aligned(gate_up, 16) && aligned(dout, 16) &&
                      aligned(dgate_up, 16) && aligned(act, 16);
  if (dout.dtype() == DType::f32) {
    vector ? backward<float, kLanes<float>>(ctx, dout, gate_up, dgate_up, act)
           : backward<float, 1>(ctx, dout, gate_up, dgate_up, act);
  } else {
    vector ? backward<bf16, kLanes<bf16>>(ctx, dout, gate_up, dgate_up, act)
           : backward<bf16, 1>(ctx, dout, gate_up, dgate_up, act);
  }
}

}  // namespace hylas::kernels::cuda
