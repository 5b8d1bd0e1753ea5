// The hot loops for the build's own instruction set, and the choice between them and the AVX-512 copy.
#include "kernels/cpu/loops.hpp"

#include "kernels/context.hpp"

namespace hylas::kernels::cpu {

template <class T>
const Loops<T>& baseline_loops() {
  static constexpr Loops<T> table = make_loops<T, 32>();
  return table;
}

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

template <class T>
const Loops<T>& loops(const Context& ctx) {
  static const Loops<T>& best = has_avx512() && avx512_loops<T>() != nullptr ? *avx512_loops<T>() : baseline_loops<T>();
  return ctx.baseline ? baseline_loops<T>() : best;
}

template const Loops<float>& baseline_loops<float>();
template const Loops<double>& baseline_loops<double>();
template const Loops<float>& loops<float>(const Context&);
template const Loops<double>& loops<double>(const Context&);

}  // namespace hylas::kernels::cpu
