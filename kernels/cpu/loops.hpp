// Loops: the table of hot loops, compiled once for the build's instruction set and once for AVX-512.
//
// Where it stands: below every operator of kernels/cpu, above vec.hpp, gemm.hpp, *rows.hpp, attention_head*.hpp,
// recurrence_chunk*.hpp. An operator checks its tensors, then walks over trials and calls the loops of the machine it
// runs on. All entries are pure functions of their arguments.
#pragma once

#include "kernels/cpu/attention_head_backward.hpp"
#include "kernels/cpu/gemm.hpp"
#include "kernels/cpu/recurrence_chunk_backward.hpp"
#include "kernels/cpu/recurrent_rows.hpp"
#include "kernels/cpu/rows.hpp"

namespace hylas::kernels {
struct Context;  // not its header: avx512.cpp includes this file and must see no inline function of a library
}

namespace hylas::kernels::cpu {

template <class T>
struct Loops {
  void (*gemm)(const Product<T>&, T* scratch) = nullptr;
  void (*attention_forward)(const AttentionHead<T>&, T* scratch) = nullptr;
  void (*attention_backward)(const AttentionHead<T>&, T* scratch) = nullptr;
  void (*recurrence_forward)(const RecurrenceGroup<T>&, const RecurrenceBuffers<T>&) = nullptr;
  void (*recurrence_backward)(const RecurrenceGroup<T>&, const RecurrenceBuffers<T>&) = nullptr;
  void (*rmsnorm_forward)(const NormRows<T>&) = nullptr;
  void (*rmsnorm_backward)(const NormRows<T>&) = nullptr;
  void (*swiglu_forward)(const GateRows<T>&) = nullptr;
  void (*swiglu_backward)(const GateRows<T>&) = nullptr;
  void (*rotate)(const RotateRows<T>&) = nullptr;
  void (*cross_entropy)(LogitRow<T>&) = nullptr;
  void (*adamw)(const AdamWBlock<T>&) = nullptr;
  double (*sum_of_squares)(const T*, std::int64_t) = nullptr;
  void (*add)(const T* from, T* to, std::int64_t) = nullptr;
  void (*conv_forward)(const ConvSequence<T>&) = nullptr;
  void (*conv_backward)(const ConvSequence<T>&) = nullptr;
  void (*gated_norm_forward)(const GatedNormRows<T>&) = nullptr;
  void (*gated_norm_backward)(const GatedNormRows<T>&) = nullptr;
};

template <class T, int Bytes>
constexpr Loops<T> make_loops() {
  return {gemm<T, Bytes>,
          attention_forward_head<T, Bytes>,
          attention_backward_head<T, Bytes>,
          recurrence_forward_group<T, Bytes>,
          recurrence_backward_group<T, Bytes>,
          rmsnorm_forward<T, Bytes>,
          rmsnorm_backward<T, Bytes>,
          swiglu_forward<T, Bytes>,
          swiglu_backward<T, Bytes>,
          rotate<T, Bytes>,
          cross_entropy<T, Bytes>,
          adamw<T, Bytes>,
          sum_of_squares<T, Bytes>,
          add<T, Bytes>,
          conv_forward<T, Bytes>,
          conv_backward<T, Bytes>,
          gated_norm_forward<T, Bytes>,
          gated_norm_backward<T, Bytes>};
}

// Compiled for the build's own instruction set.
template <class T>
const Loops<T>& baseline_loops();
// Compiled for AVX-512; null where the compiler has none. Only for machines that pass has_avx512().
template <class T>
const Loops<T>* avx512_loops();
bool has_avx512();
// The fastest of the two that runs here, unless the context wants the baseline.
template <class T>
const Loops<T>& loops(const Context& ctx);

}  // namespace hylas::kernels::cpu
